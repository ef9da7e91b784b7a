-- The views got system.workers. This step keeps builds away that would take it for somebody else's.
SELECT 1;
