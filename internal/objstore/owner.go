package objstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// OwnerKey is the key of the marker that says whose storage it is.
const OwnerKey = ".spillway-owner.json"

// Owner names the database to which a storage belongs. A clone or a restored copy of the database has the same ledger,
// and would clean up after the original; the marker stops it. Zero fields are unknown and match everything.
type Owner struct {
	InstallationID   string `json:"installation_id"`
	SystemIdentifier string `json:"system_identifier,omitempty"`
	DatabaseOID      uint32 `json:"database_oid,omitempty"`
	Timeline         int64  `json:"timeline,omitempty"`
}

func (o Owner) String() string {
	return fmt.Sprintf("installation %s, system %s, database %d, timeline %d",
		o.InstallationID, o.SystemIdentifier, o.DatabaseOID, o.Timeline)
}

func (o Owner) matches(other Owner) bool {
	return same(o.InstallationID, other.InstallationID) &&
		same(o.SystemIdentifier, other.SystemIdentifier) &&
		same(o.DatabaseOID, other.DatabaseOID) &&
		same(o.Timeline, other.Timeline)
}

func same[T comparable](a, b T) bool {
	var unknown T
	return a == b || a == unknown || b == unknown
}

// ClaimOwner marks a storage without a marker as ours and accepts one that is ours. Any other is *ForeignOwnerError.
func ClaimOwner(ctx context.Context, s Store, ours Owner) error {
	found, err := ReadOwner(ctx, s)
	if errors.Is(err, ErrNotExist) {
		err = putOwner(ctx, s, ours)
		if err == nil {
			return nil
		}
		if errors.Is(err, ErrExists) { // somebody else was faster
			found, err = ReadOwner(ctx, s)
		}
	}
	if err != nil {
		return fmt.Errorf("claim storage: %w", err)
	}
	if !found.matches(ours) {
		return &ForeignOwnerError{Location: s.URL(""), Found: found, Ours: ours}
	}
	return nil
}

// CheckOwner accepts a storage that ClaimOwner would accept, and marks nothing.
func CheckOwner(ctx context.Context, s Store, ours Owner) error {
	found, err := ReadOwner(ctx, s)
	switch {
	case errors.Is(err, ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look up the storage's owner: %w", err)
	case !found.matches(ours):
		return &ForeignOwnerError{Location: s.URL(""), Found: found, Ours: ours}
	}
	return nil
}

// AdoptOwner makes a storage ours, whatever its marker says.
func AdoptOwner(ctx context.Context, s Store, ours Owner) error {
	data, err := marshalOwner(ours)
	if err == nil {
		err = s.Replace(ctx, OwnerKey, data)
	}
	if err != nil {
		return fmt.Errorf("adopt storage: %w", err)
	}
	return nil
}

// ReadOwner reads the marker. ErrNotExist when there is none.
func ReadOwner(ctx context.Context, s Store) (Owner, error) {
	obj, err := s.Open(ctx, OwnerKey)
	if err != nil {
		return Owner{}, err
	}
	defer obj.Close()
	const limit = 64 << 10 // anything longer is no marker
	data, err := io.ReadAll(io.NewSectionReader(obj, 0, min(obj.Size(), limit)))
	if err != nil {
		return Owner{}, fmt.Errorf("read %s: %w", s.URL(OwnerKey), err)
	}
	var o Owner
	if err := json.Unmarshal(data, &o); err != nil {
		return Owner{}, fmt.Errorf("owner marker %s is damaged: %w", s.URL(OwnerKey), err)
	}
	if o.InstallationID == "" {
		return Owner{}, fmt.Errorf("owner marker %s is damaged: it names no installation", s.URL(OwnerKey))
	}
	return o, nil
}

func putOwner(ctx context.Context, s Store, o Owner) error {
	data, err := marshalOwner(o)
	if err != nil {
		return err
	}
	return s.PutIfAbsent(ctx, OwnerKey, data)
}

func marshalOwner(o Owner) ([]byte, error) {
	if o.InstallationID == "" {
		return nil, errors.New("owner without an installation id")
	}
	data, err := json.MarshalIndent(o, "", "  ")
	return append(data, '\n'), err
}
