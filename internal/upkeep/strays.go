package upkeep

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/layout"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
)

// listBatch is how many objects the ledger is asked about at once.
const listBatch = 1000

// listed is a prefix of a storage under which objects are listed.
type listed struct{ storage, prefix string }

// listStrays lists the objects in the table's directories that nothing explains, and notes them.
func (k *Keeper) listStrays(ctx context.Context, jobID string, req ledger.Request) (strays int, err error) {
	places, err := k.placesOf(ctx, req.Schema, req.Table)
	if err != nil {
		return 0, err
	}
	manifests, err := k.manifestKeys(ctx, req)
	if err != nil {
		return 0, err
	}
	if err := k.ledger.DropStrays(ctx, jobID); err != nil { // those of a try that was cut off may be gone
		return 0, err
	}
	for _, p := range places {
		store, name, err := k.stores.Store(ctx, p.storage)
		if err != nil {
			return 0, err
		}
		s := &strayScan{k: k, store: store, storage: name, manifests: manifests, jobID: jobID, req: req}
		for info, err := range store.List(ctx, p.prefix) {
			if err == nil {
				err = s.add(ctx, info)
			}
			if err != nil {
				return 0, err
			}
		}
		if err := s.ask(ctx); err != nil {
			return 0, err
		}
		strays += s.found
	}
	return strays, nil
}

// placesOf is where objects of a table can be: its own directory in the default storage and in each that has segments of it, and
// wherever else its segments lie or lay. No place lies within another.
func (k *Keeper) placesOf(ctx context.Context, schema, table string) ([]listed, error) {
	own, err := layout.TableDir(schema, table)
	if err != nil {
		return nil, jobstep.Classified(jobstep.ClassInvalid, err)
	}
	_, first, err := k.stores.Store(ctx, "")
	if err != nil {
		return nil, err
	}
	list := []listed{{first, own + "/"}}
	dirs, err := k.ledger.Directories(ctx, schema, table)
	if err != nil {
		return nil, err
	}
	for _, d := range dirs {
		store, _, err := k.stores.Store(ctx, d.Storage)
		if err != nil {
			return nil, err
		}
		list = append(list, listed{d.Storage, own + "/"})
		if key, ok := objstore.KeyOf(store, strings.TrimSuffix(d.URL, "/")); ok {
			list = append(list, listed{d.Storage, key + "/"})
		}
	}
	return outermost(list), nil
}

// outermost drops the places that lie within others.
func outermost(list []listed) []listed {
	slices.SortFunc(list, func(a, b listed) int {
		return cmp.Or(strings.Compare(a.storage, b.storage), strings.Compare(a.prefix, b.prefix))
	})
	var out []listed
	for _, p := range list {
		if n := len(out); n > 0 && out[n-1].storage == p.storage && strings.HasPrefix(p.prefix, out[n-1].prefix) {
			continue
		}
		out = append(out, p)
	}
	return out
}

// manifestKeys are the keys of the manifests of all tables that the ledger knows, and of the one that is asked for.
func (k *Keeper) manifestKeys(ctx context.Context, req ledger.Request) (map[string]bool, error) {
	tables, err := k.ledger.RegisteredTables(ctx, "")
	if err != nil {
		return nil, err
	}
	if req.Table != "" {
		tables = append(tables, ledger.RegisteredTable{Schema: req.Schema, Table: req.Table})
	}
	out := map[string]bool{}
	for _, t := range tables {
		key, err := layout.ManifestKey(t.Schema, t.Table)
		if err != nil {
			return nil, jobstep.Classified(jobstep.ClassInvalid, err)
		}
		out[key] = true
	}
	return out, nil
}

// strayScan asks the ledger about the objects of one place, batch by batch.
type strayScan struct {
	k         *Keeper
	store     objstore.Store
	storage   string
	manifests map[string]bool
	jobID     string
	req       ledger.Request
	batch     []objstore.Info
	found     int
}

func (s *strayScan) add(ctx context.Context, info objstore.Info) error {
	if info.Key == objstore.OwnerKey || s.manifests[info.Key] {
		return nil
	}
	if objstore.CheckKey(info.Key) != nil { // the ledger cannot even be asked about it
		s.found++
		return s.k.ledger.PutFindings(ctx, []ledger.Finding{s.finding(info, "its name is none that this program gives or takes: remove it by hand")})
	}
	s.batch = append(s.batch, info)
	if len(s.batch) < listBatch {
		return nil
	}
	return s.ask(ctx)
}

// ask looks the batch up. It comes after the listing: an object is there only after its attempt has a row.
func (s *strayScan) ask(ctx context.Context) error {
	strays, err := s.unexplained(ctx, s.batch)
	s.batch = s.batch[:0]
	if err != nil || len(strays) == 0 {
		return err
	}
	findings := make([]ledger.Finding, 0, len(strays))
	for _, info := range strays {
		now, err := s.store.Stat(ctx, info.Key)
		if errors.Is(err, objstore.ErrNotExist) { // a failed attempt has cleaned up behind itself
			continue
		}
		if err != nil {
			return err
		}
		findings = append(findings, s.finding(now, "no segment and no attempt of the ledger explains it"))
	}
	s.found += len(findings)
	return s.k.ledger.PutFindings(ctx, findings)
}

func (s *strayScan) finding(info objstore.Info, problem string) ledger.Finding {
	return ledger.Finding{
		JobID: s.jobID, Location: s.store.URL(info.Key), Schema: s.req.Schema, Table: s.req.Table, Storage: s.storage,
		Kind: ledger.KindStray, Action: ledger.ActionReported, Bytes: &info.Size, Problem: problem,
	}
}

func (s *strayScan) unexplained(ctx context.Context, list []objstore.Info) (strays []objstore.Info, err error) {
	keys, urls := make([]string, len(list)), make([]string, len(list))
	for i, info := range list {
		keys[i], urls[i] = info.Key, s.store.URL(info.Key)
	}
	known, err := s.k.ledger.Explain(ctx, s.storage, keys, urls)
	if err != nil {
		return nil, err
	}
	for i, k := range known {
		if !k.Explained() {
			strays = append(strays, list[i])
		}
	}
	return strays, nil
}
