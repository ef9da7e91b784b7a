COPY app.nothing FROM STDIN;
SELECT 'data; no statement';
\.
SELECT 'after' AS a;
