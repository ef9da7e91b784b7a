\frobnicate now
SELECT 'after' AS a;
