SELECT 'included' AS a
