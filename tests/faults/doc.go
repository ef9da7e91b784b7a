// Package faults walks every fault point of internal/fault, with every kind of fault that the point can suffer and every way in
// which a job goes on after it, and ends each walk with the audit: each row once, no stray object after a clean-up, no lock and no
// open transaction left, every job with an end. docs/reliability.md says what it covers, and of what it is no proof.
//
// TestWalks is the matrix; it prints what it covered, and fails if it never reached a point. SPILLWAY_LONG=1 (make faults) walks all
// of it, else a sample that SPILLWAY_FAULTS_SEED chooses. TestMutants (make mutants) plants bugs into copies of the product's source
// and wants a walk to fail for each.
//
// Warning: a process that crashes is this test program, started again as a child. See TestMain.
package faults
