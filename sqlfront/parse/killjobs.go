package parse

import "strings"

// KillJobs is KILL JOBS WHERE …: every live job whose row of system.jobs matches. CANCEL JOBS is the same.
type KillJobs struct{ Where *Predicate }

// ExplainKill is EXPLAIN KILL JOBS WHERE …: which jobs that would be. It stops none.
type ExplainKill struct{ Kill *KillJobs }

func (*KillJobs) statement()    {}
func (*ExplainKill) statement() {}

// Tag implements Statement.
func (*KillJobs) Tag() string { return "KILL JOBS" }

// Tag implements Statement.
func (*ExplainKill) Tag() string { return "EXPLAIN" }

func (s *KillJobs) String() string    { return "KILL JOBS WHERE " + s.Where.Text }
func (s *ExplainKill) String() string { return "EXPLAIN " + s.Kill.String() }

// killJobs reads [KILL] JOBS WHERE …. The condition is never left out: nobody stops all jobs by a word too few.
func (p *parser) killJobs(verb string) (*KillJobs, error) {
	if err := p.expect("JOBS"); err != nil {
		return nil, err
	}
	if !p.accept("WHERE") {
		return nil, p.fail("for example: "+verb+" JOBS WHERE target = 'app.events'; WHERE true takes all that live", "WHERE")
	}
	where, err := p.predicate()
	if err != nil {
		return nil, err
	}
	return &KillJobs{Where: where}, nil
}

// explainKill reads [EXPLAIN] KILL JOBS WHERE ….
func (p *parser) explainKill() (Statement, error) {
	verb := strings.ToUpper(p.text(p.tok))
	p.advance()
	if p.is("JOB") {
		return nil, p.fail("SHOW JOB 'id' shows one job", "JOBS")
	}
	kill, err := p.killJobs(verb)
	if err != nil {
		return nil, err
	}
	return &ExplainKill{Kill: kill}, nil
}
