package flush_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/spillwaydb/spillway/internal/jobstep"
)

// damage changes a file as disks and people do. It never leaves it as it was.
func damage(r *rand.Rand, data []byte) (bad []byte, how string) {
	bad = bytes.Clone(data)
	at := r.IntN(len(bad))
	switch r.IntN(6) {
	case 0, 1, 2:
		bit := r.IntN(8)
		bad[at] ^= 1 << bit
		return bad, fmt.Sprintf("bit %d of byte %d", bit, at)
	case 3:
		bad[at] ^= byte(1 + r.IntN(255))
		return bad, fmt.Sprintf("byte %d", at)
	case 4:
		return bad[:at], fmt.Sprintf("cut to %d bytes", at)
	}
	n := min(1+r.IntN(512), len(bad)-at) // zeros, as a disk may give back
	clear(bad[at : at+n])
	if bytes.Equal(bad, data) {
		bad[at] = 1
	}
	return bad, fmt.Sprintf("%d zeros at %d", n, at)
}

// A10, A18: of random damages VERIFY finds each, and names no file that has none; RESTORE refuses each and changes nothing. With
// SPILLWAY_LONG there are more than 2 000.
func TestRandomDamageIsFound(t *testing.T) {
	t.Parallel()
	most := 200
	if os.Getenv("SPILLWAY_LONG") != "" {
		most = 2400
	}
	r := newRestoreRig(t, events, fill(6000))
	r.params["chunk_bytes"] = "65536"
	r.newJob().run()
	back := r.newRestore(nil)
	paths := r.segmentFiles()
	if back.plan.Chunks != len(paths) {
		t.Fatalf("%d chunks for %d segments", back.plan.Chunks, len(paths))
	}
	whole := make([][]byte, len(paths))
	for i, path := range paths {
		var err error
		whole[i], err = os.ReadFile(path)
		must(t, err)
	}
	const seed = 20260707
	rnd := rand.New(rand.NewPCG(seed, 0))
	done, missed, restored, wronged := 0, 0, 0, 0
	for done < most {
		hurt := map[string]string{}
		for i, path := range paths {
			data := whole[i]
			if rnd.IntN(10) > 0 {
				data, hurt[path] = damage(rnd, data)
			}
			must(t, os.WriteFile(path, data, 0o640))
		}
		found, err := r.verify()
		if (err != nil) != (len(hurt) > 0) {
			t.Errorf("VERIFY of %d damaged files: %v", len(hurt), err)
		}
		for path, how := range hurt {
			done++
			if _, ok := found[path]; !ok {
				missed++
				t.Errorf("seed %d: VERIFY missed %s", seed, how)
			}
		}
		wronged += len(found) - len(hurt)
		for n, path := range paths { // which are a restore's chunks, in its order
			if hurt[path] == "" {
				continue
			}
			if _, err := back.segment(n); jobstep.ClassOf(err).Name != jobstep.ClassDamaged {
				restored++
				t.Errorf("seed %d: RESTORE of a file with %s: %v", seed, hurt[path], err)
			}
		}
	}
	for i, path := range paths {
		must(t, os.WriteFile(path, whole[i], 0o640))
	}
	if r.hotCount() != 0 || wronged != 0 {
		t.Errorf("%d rows are hot after restores that were refused, %d whole files were called damaged", r.hotCount(), wronged)
	}
	t.Logf("seed %d: %d damages, %d missed by VERIFY, %d restored", seed, done, missed, restored)
	back.finish("failed", nil)
}
