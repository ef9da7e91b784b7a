package segment

import (
	"fmt"
	"slices"

	"github.com/parquet-go/parquet-go"
)

// SortedBy is one column of the order in which rows come.
type SortedBy struct {
	Column     string
	Descending bool
	NullsFirst bool
}

// bloomBits is how many bits a bloom filter spends on a value: about one in a hundred lookups of an absent value passes.
const bloomBits = 10

// CanBloom says why a column cannot have a bloom filter, or nil.
func (s *Schema) CanBloom(column string) error {
	i := s.index(column)
	switch {
	case i < 0:
		return &SchemaError{Column: column, Reason: "there is no such column"}
	case s.tree.roots[i].kind == kindBool:
		return &SchemaError{Column: column, Reason: "a bloom filter of a boolean would exclude nothing"}
	case !s.tree.roots[i].node().Leaf():
		return &SchemaError{Column: column, Reason: "a bloom filter is for columns of single values"}
	}
	return nil
}

func (s *Schema) index(column string) int {
	return slices.IndexFunc(s.columns, func(c Column) bool { return c.Name == column })
}

func (s *Schema) checkWriterOptions(o WriterOptions) error {
	for _, name := range o.Bloom {
		if err := s.CanBloom(name); err != nil {
			return err
		}
	}
	for _, by := range o.Sorted {
		if s.index(by.Column) < 0 {
			return &SchemaError{Column: by.Column, Reason: "rows cannot be sorted by it: there is no such column"}
		}
	}
	c, err := newCodec(o.Codec)
	if err != nil {
		return fmt.Errorf("configure parquet: %w", err)
	}
	freeCodec(c)
	return nil
}

// arrangement is what the Parquet library has to know of bloom filters and order.
func (s *Schema) arrangement(o WriterOptions) []parquet.WriterOption {
	var out []parquet.WriterOption
	if len(o.Bloom) > 0 {
		filters := make([]parquet.BloomFilterColumn, len(o.Bloom))
		for i, name := range o.Bloom {
			filters[i] = parquet.SplitBlockFilter(bloomBits, name)
		}
		out = append(out, parquet.BloomFilters(filters...))
	}
	var sorting []parquet.SortingColumn
	for _, by := range s.reliable(o.Sorted) {
		sorting = append(sorting, sortingColumn(by))
	}
	if len(sorting) > 0 {
		out = append(out, parquet.SortingWriterConfig(parquet.SortingColumns(sorting...)))
	}
	return out
}

// reliable is the beginning of an order by which PostgreSQL and Parquet mean the same.
func (s *Schema) reliable(order []SortedBy) []SortedBy {
	if s.opt.OnUnrepresentable == UnrepresentableNull {
		return nil // a value that became NULL stands where the value belongs
	}
	for n, by := range order {
		i := s.index(by.Column)
		if !s.tree.roots[i].sameOrder(s.columns[i].Collation) {
			return order[:n]
		}
	}
	return order
}

// sameOrder reports whether PostgreSQL sorts a column's values as Parquet compares them. Floats are left out for NaN, enums
// for PostgreSQL's order of their labels, texts under any other collation than that of bytes, and what is stored as text.
func (m mapping) sameOrder(collation string) bool {
	switch m.kind {
	case kindBool, kindInt16, kindInt32, kindInt64, kindOID, kindDecimal32, kindDecimal64, kindDecimal128, kindUUID, kindDate, kindTime,
		kindTimestamp, kindTimestampTZ:
		return true
	case kindText:
		return !m.asText && (collation == `pg_catalog."C"` || collation == `pg_catalog."POSIX"` || collation == "pg_catalog.ucs_basic")
	}
	return false
}

// orderOf is a SortedBy for the Parquet library.
type orderOf struct{ SortedBy }

func sortingColumn(by SortedBy) parquet.SortingColumn { return orderOf{by} }

func (o orderOf) Path() []string   { return []string{o.Column} }
func (o orderOf) Descending() bool { return o.SortedBy.Descending }
func (o orderOf) NullsFirst() bool { return o.SortedBy.NullsFirst }
