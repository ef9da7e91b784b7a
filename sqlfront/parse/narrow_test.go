package parse

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestNarrow(t *testing.T) {
	t.Parallel()
	const id = "flush:app.t:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f"
	for text, want := range map[string]*Narrowing{
		"SELECT * FROM system.jobs WHERE job_id = '" + id + "'":                                                                                             {JobIDs: []string{id}},
		"select status, progress from System . Jobs where 'a' = job_id;":                                                                                    {JobIDs: []string{"a"}},
		"SELECT j.* FROM system.jobs AS j WHERE j.job_id IN ('a', 'b') AND j.status <> 'x'":                                                                 {JobIDs: []string{"a", "b"}},
		"SELECT * FROM system.jobs j WHERE status = 'running' AND j.target = 'app.t' LIMIT 5":                                                               {Targets: []string{"app.t"}},
		"SELECT * FROM system.jobs WHERE system.jobs.target='a' AND jobs.job_type='flush'":                                                                  {Targets: []string{"a"}, Types: []string{"flush"}},
		"SELECT * FROM system.jobs WHERE job_id = 'a' AND job_id = 'b'":                                                                                     {JobIDs: []string{"a"}},
		"SELECT * FROM system.jobs WHERE job_id = 'a' AND (status LIKE 'x%' AND NOT progress > 0.5)":                                                        {JobIDs: []string{"a"}},
		"SELECT count(*) AS union, max(now() - created_at) FROM system.jobs WHERE target = 'a' GROUP BY status ORDER BY 1 DESC NULLS LAST LIMIT 1 OFFSET 2": {Targets: []string{"a"}, Functions: []string{"count", "max", "now"}},
		"SELECT DISTINCT coalesce(error, 'none') FROM system.jobs WHERE /* one */ target = 'a' -- or 'b'\n":                                                 {Targets: []string{"a"}},
		"SELECT * FROM system.jobs WHERE target = 'a' AND created_at > now() - interval '1 day'":                                                            {Targets: []string{"a"}, Functions: []string{"now"}},
	} {
		if got := Narrow(text, "system"); !reflect.DeepEqual(got, want) {
			t.Errorf("%s\n\t%+v, want %+v", text, got, want)
		}
	}
	for _, text := range []string{
		"SELECT * FROM system.jobs",
		"SELECT * FROM system.jobs WHERE status = 'running'",
		"SELECT * FROM system.jobs WHERE (job_id = 'a')",
		"SELECT * FROM system.jobs WHERE job_id = 'a' OR true",
		"SELECT * FROM system.jobs WHERE job_id = 'a' AND status = 'b' OR true",
		"SELECT * FROM system.jobs WHERE NOT job_id = 'a'",
		"SELECT * FROM system.jobs WHERE job_id NOT IN ('a')",
		"SELECT * FROM system.jobs WHERE job_id <> 'a'",
		"SELECT * FROM system.jobs WHERE job_id != 'a'",
		"SELECT * FROM system.jobs WHERE job_id <= 'a'",
		"SELECT * FROM system.jobs WHERE 'a' <= job_id",
		"SELECT * FROM system.jobs WHERE job_id = 'a' IS NOT TRUE",
		"SELECT * FROM system.jobs WHERE job_id = 'a' = false",
		"SELECT * FROM system.jobs WHERE false = job_id IN ('a')",
		"SELECT * FROM system.jobs WHERE job_id IN ('a') = (status IN ('b'))",
		"SELECT * FROM system.jobs WHERE status BETWEEN 'a' AND job_id = 'b'",
		"SELECT * FROM system.jobs WHERE CASE WHEN true AND job_id = 'a' AND false THEN true END",
		"SELECT * FROM system.jobs WHERE job_id = $1",
		"SELECT * FROM system.jobs WHERE job_id = E'a'",
		"SELECT * FROM system.jobs WHERE job_id = U&'a'",
		"SELECT * FROM system.jobs WHERE job_id = $$a$$",
		"SELECT * FROM system.jobs WHERE job_id = 'a'\n'b'",
		"SELECT * FROM system.jobs WHERE job_id = 'it''s'",
		`SELECT * FROM system.jobs WHERE job_id = 'a' AND status = '\' OR true --'`,
		"SELECT * FROM system.jobs WHERE job_id = 'ä'",
		"SELECT * FROM system.jobs WHERE job_id = 'a'::text",
		"SELECT * FROM system.jobs WHERE job_id = text 'a'",
		"SELECT * FROM system.jobs WHERE job_id = 'a' AND status 'b' = status",
		"SELECT * FROM system.jobs WHERE job_id = 'a' COLLATE \"C\"",
		"SELECT * FROM system.jobs WHERE job_id OPERATOR(public.=) 'a'",
		"SELECT * FROM system.jobs WHERE job_id =* 'a'",
		"SELECT * FROM system.jobs WHERE job_id = 'a' AND 'b' <=> 'c'",
		"SELECT * FROM system.jobs WHERE job_id = 'a' AND public.f()",
		"SELECT * FROM system.jobs WHERE job_id = 'a' AND f()",
		"SELECT * FROM system.jobs WHERE job_id = 'a' AND status IN (SELECT 'b')",
		"SELECT *, (SELECT count(*) FROM system.jobs) FROM system.jobs WHERE job_id = 'a'",
		"SELECT query_to_xml('select * from system.jobs', true, true, '') FROM system.jobs WHERE job_id = 'a'",
		"SELECT current_setting('spillway.jobs') FROM system.jobs WHERE job_id = 'a'",
		"SELECT * FROM system.jobs, system.jobs k WHERE jobs.job_id = 'a'",
		"SELECT * FROM system.jobs JOIN system.jobs k USING (job_id) WHERE job_id = 'a'",
		"SELECT * FROM system.jobs AS j (status, job_id) WHERE job_id = 'a'",
		"SELECT * FROM system.jobs AS j WHERE jobs.job_id = 'a'",
		"SELECT * FROM ONLY system.jobs WHERE job_id = 'a'",
		"SELECT * FROM system.jobs * WHERE job_id = 'a'",
		"SELECT * FROM system.jobs TABLESAMPLE system (50) WHERE job_id = 'a'",
		"SELECT * FROM LATERAL system.jobs WHERE job_id = 'a'",
		"SELECT * FROM other.jobs WHERE job_id = 'a' -- system.jobs",
		`SELECT * FROM "system".jobs WHERE job_id = 'a'`,
		"SELECT 1 AS union, 2 AS table FROM system.jobs WHERE job_id = 'a' UNION TABLE system.jobs",
		"SELECT job_id FROM system.jobs WHERE job_id = 'a' UNION SELECT job_id FROM system.jobs",
		"SELECT job_id FROM system.jobs WHERE job_id = 'a' EXCEPT TABLE system.jobs",
		"WITH x AS (SELECT * FROM system.jobs) SELECT * FROM x WHERE job_id = 'a'",
		"WITH jobs AS (SELECT 1) SELECT * FROM system.jobs WHERE job_id = 'a'",
		"SELECT * INTO x FROM system.jobs WHERE job_id = 'a'",
		"SELECT * FROM system.jobs WHERE job_id = 'a' FOR SHARE",
		"SELECT * FROM system.jobs WHERE job_id = 'a' HAVING true",
		"SELECT rank() OVER (ORDER BY job_id) FROM system.jobs WHERE job_id = 'a'",
		"SELECT jobs FROM system.jobs WHERE job_id = 'a'",
		"SELECT * FROM system.jobs WHERE job_id = 'a' LIMIT (SELECT 1)",
		"SELECT * FROM system.jobs WHERE job_id = 'a'; SELECT 1",
		"SELECT * FROM system.jobs WHERE job_id = 'a' AND 1union = 1",
		"EXPLAIN SELECT * FROM system.jobs WHERE job_id = 'a'",
		"COPY (SELECT * FROM system.jobs WHERE job_id = 'a') TO STDOUT",
		"SELECT * FROM system.jobs WHERE job_id = ''' OR true --'",
		"SELECT * FROM system.jobs WHERE job_id = 'a",
		"SELECT * FROM system.jobs WHERE job_id IN ('a'" + strings.Repeat(", 'a'", maxNarrowValues) + ")",
		"SELECT * FROM system.jobs WHERE job_id = '" + strings.Repeat("a", maxNarrow) + "'",
		"",
	} {
		if got := Narrow(text, "system"); got != nil {
			t.Errorf("%s\n\tnarrowed to %+v", text, got)
		}
	}
	if got := Narrow(`SELECT * FROM "Sys".jobs WHERE job_id = 'a'`, "Sys"); got != nil {
		t.Errorf("a schema with a name that needs quotes: %+v", got)
	}
	for text, want := range map[string]bool{"job_id = 'a'": true, "job_id = 'a' AND status = 'b'": true, "true) OR (job_id = 'a'": false, "job_id = 'a' OR true": false,
		"job_id = 'a') AND (true": false, "status = 'a'": false} {
		if got := NarrowCondition(text, "system"); (got != nil) != want {
			t.Errorf("%s: %+v", text, got)
		}
	}
}

// FuzzNarrow holds that what is narrowed is one plain statement, whatever surrounds it.
func FuzzNarrow(f *testing.F) {
	f.Add("SELECT count(*) FROM system.jobs AS j WHERE j.job_id = 'a' AND status IN ('b', 'c') ORDER BY 1 LIMIT 1")
	f.Add("SELECT * FROM system.jobs WHERE 'a' = target AND created_at > now() - interval '1 day';")
	f.Fuzz(func(t *testing.T, text string) {
		n := Narrow(text, "system")
		if n == nil {
			return
		}
		toks, err := tokens(text)
		if err != nil {
			t.Fatal(err)
		}
		froms := 0
		for _, tok := range toks {
			switch word := strings.ToUpper(text[tok.start:tok.end]); word {
			case "FROM":
				froms++
			case "OR", "BETWEEN", "CASE", "JOIN", "WITH":
				if prev := before(text, toks, tok); prev != "AS" && prev != "JOBS" {
					t.Errorf("%s in %s", word, text)
				}
			}
		}
		if froms != 1 || !n.Restricts() {
			t.Errorf("%s: %+v", text, n)
		}
		for _, v := range append(append(n.JobIDs, n.Targets...), n.Types...) {
			if !strings.Contains(text, "'"+v+"'") {
				t.Errorf("%s: %q is not in it", text, v)
			}
		}
		// In brackets it is not of a known form any more, so that the whole list can always be had.
		head, cond, ok := strings.Cut(text, "WHERE")
		if end := strings.LastIndexByte(cond, '\''); ok && end > 0 && !strings.Contains(cond, "--") && !strings.Contains(cond, "/*") && strings.Count(text, "WHERE") == 1 {
			if again := fmt.Sprint(head, "WHERE (", cond[:end+1], ")"); Narrow(again, "system") != nil && !strings.Contains(cond, ")") {
				t.Errorf("still narrowed: %s", again)
			}
		}
	})
}

func before(text string, toks []token, t token) string {
	for i := range toks {
		if toks[i] == t && i > 0 {
			return strings.ToUpper(text[toks[i-1].start:toks[i-1].end])
		}
	}
	return ""
}
