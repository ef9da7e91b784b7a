SELECT 'before' AS a;

SELECT 1,
       nope;
SELECT 'after' AS a;
