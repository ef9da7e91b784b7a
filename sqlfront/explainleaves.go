package sqlfront

import "fmt"

// maxLeafFacts is how many leaves are described with a row for each fact. More of them get one row each, and their ways are summed up.
const maxLeafFacts = 20

// cuts are the values of the property cut.
var cuts = map[Way]string{
	WayBlocks: "block ranges", WayIndex: "index ranges", WayNone: "nothing", WayTruncate: "whole partition, TRUNCATE", WayDetach: "whole partition, DETACH",
}

// leaves describes the tables that hold the rows.
func (x *explanation) leaves() {
	many := len(x.outlook.Leaves) > maxLeafFacts
	if many {
		x.sumUp()
	}
	for i := range x.outlook.Leaves {
		l := &x.outlook.Leaves[i]
		if many {
			x.add(l.Name, "cut", cuts[l.Way], l.figures()+"; "+l.way())
		} else {
			x.facts(l)
		}
		if l.VacuumDenied {
			x.add(l.Name, "vacuum", "no right", vacuumHint)
		}
		x.each(l.Name, "trigger", l.Triggers, "runs for every row, with the rights of the worker's role")
		x.each(l.Name, "foreign_key", l.ForeignKeys, "refers to it")
		x.each(l.Name, "publication", l.Publications, "publishes deletes: subscribers lose the rows too")
	}
}

// sumUp says how many leaves go which way.
func (x *explanation) sumUp() {
	for _, way := range []Way{WayBlocks, WayIndex, WayTruncate, WayDetach, WayNone} {
		leaves, chunks := 0, 0
		for i := range x.outlook.Leaves {
			if l := &x.outlook.Leaves[i]; l.Way == way {
				leaves++
				chunks += l.Chunks
			}
		}
		if leaves > 0 {
			x.add(x.table, "cut", cuts[way], fmt.Sprintf("%d partitions in %d chunks", leaves, chunks))
		}
	}
}

// facts describes one leaf, with a row for each fact.
func (x *explanation) facts(l *LeafOutlook) {
	if len(x.outlook.Leaves) > 1 {
		if l.Rows != nil {
			x.number(l.Name, "rows", *l.Rows, fmt.Sprintf("of about %d", l.AllRows))
		}
		x.number(l.Name, "bytes", l.Bytes, prettySize(l.Bytes))
		x.number(l.Name, "chunks", int64(l.Chunks), "")
		x.number(l.Name, "files", l.Files, "")
	}
	x.add(l.Name, "directory", l.Directory, "")
	x.add(l.Name, "cut", cuts[l.Way], l.way())
	switch {
	case l.Scan == "" || l.Way == WayNone, l.Way == WayTruncate, l.Way == WayDetach:
	case l.Index == "":
		x.add(l.Name, "index", "none", "no index helps to find the rows ("+l.Scan+")")
	case l.Way == WayIndex:
		x.add(l.Name, "index", l.Index, "finds the rows ("+l.Scan+")")
	default:
		x.add(l.Name, "index", l.Index, "PostgreSQL would find the rows by it ("+l.Scan+"), and it is not used")
	}
	if l.Vacuum {
		x.add(l.Name, "vacuum", "yes", "when the rows have moved: gives the space back")
	}
}

// figures are the sizes of a leaf in one line.
func (l *LeafOutlook) figures() string {
	rows := "rows not known"
	if l.Rows != nil {
		rows = fmt.Sprintf("%d of about %d rows", *l.Rows, l.AllRows)
	}
	return fmt.Sprintf("%s, %s, %d chunks", rows, prettySize(l.Bytes), l.Chunks)
}

// way says how a leaf is read, and why so.
func (l *LeafOutlook) way() string {
	costs := ""
	if l.BlockCost > 0 {
		costs = fmt.Sprintf("; by PostgreSQL's estimate %.0f by the index, %.0f by blocks", l.Cost, l.BlockCost)
	}
	why := ""
	if l.Why != "" {
		why = "; " + l.Why
	}
	switch l.Way {
	case WayIndex:
		if l.Key == "" {
			return "one chunk takes all rows" + why + costs
		}
		return "ranges of " + l.Key + ", whose bounds are found when the job is planned; blocks after all if they prove dearer" + why + costs
	case WayNone:
		return l.Why
	case WayTruncate, WayDetach:
		return "one transaction reads all rows, however long it takes" + why
	}
	if why == "" {
		why = "; a chunk reads its own, and no index"
	}
	return fmt.Sprintf("%d blocks, %d to a chunk%s%s", l.Blocks, l.ChunkBlocks, why, costs)
}

// chunkDetail says how sure the number of chunks is.
func (x *explanation) chunkDetail() string {
	for i := range x.outlook.Leaves {
		if l := &x.outlook.Leaves[i]; l.Way == WayIndex && l.Key != "" {
			return "about, for the ranges of an index are found when the job is planned; each moves in one transaction"
		}
	}
	return "each moves in one transaction"
}

// wholeConsequences says what it means that partitions are taken whole.
func (x *explanation) wholeConsequences() {
	ways := map[Way]int{}
	for i := range x.outlook.Leaves {
		ways[x.outlook.Leaves[i].Way]++
	}
	if ways[WayTruncate]+ways[WayDetach] == 0 {
		return
	}
	on := "on a partition that is taken whole, at once, while all its rows are read and written"
	if ways[WayDetach] > 0 {
		on += "; with DETACH on the table above it and its default partition too, one partition at a time"
	}
	x.add(x.table, "lock", "ACCESS EXCLUSIVE", on)
	x.add(x.table, "waits", "SELECT, INSERT, UPDATE, DELETE", "of whoever reads or writes what is locked so")
	x.add(x.table, "snapshots", "older ones see such rows in neither place", "a transaction that began before the commit finds the partition empty and the files not registered")
}
