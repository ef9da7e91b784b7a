package segment

import (
	"math"
	"strconv"
)

// PostgreSQL counts days and microseconds from 2000-01-01, Parquet from 1970-01-01.
const (
	epochDays    = 10957
	microsPerDay = 86400 * 1000000
	epochMicros  = epochDays * microsPerDay
)

const (
	reasonInfinity = "infinity has no counterpart"
	reasonOverflow = "beyond the range of a 64-bit count of microseconds from 1970"
)

// parquetDate turns PostgreSQL's days into Parquet's, or says why it cannot.
func parquetDate(days int32) (int32, string) {
	switch {
	case days == math.MaxInt32 || days == math.MinInt32:
		return 0, reasonInfinity
	case days > math.MaxInt32-epochDays:
		return 0, "beyond the range of a 32-bit count of days from 1970"
	}
	return days + epochDays, ""
}

// parquetTimestamp turns PostgreSQL's microseconds into Parquet's, or says why it cannot.
func parquetTimestamp(us int64) (int64, string) {
	switch {
	case us == math.MaxInt64 || us == math.MinInt64:
		return 0, reasonInfinity
	case us > math.MaxInt64-epochMicros:
		return 0, reasonOverflow
	}
	return us + epochMicros, ""
}

// civil turns days from 1970 into a date of the proleptic Gregorian calendar; year 0 is 1 BC.
func civil(days int64) (year int64, month, day int) {
	// Years begin in March here, so that the leap day comes last.
	z := days + 719468
	era := z / 146097
	if z < 0 {
		era = (z - 146096) / 146097
	}
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	day = int(doy - (153*mp+2)/5 + 1)
	month = int(mp + 3)
	year = yoe + era*400
	if month > 12 {
		month -= 12
		year++
	}
	return year, month, day
}

// appendDate prints a date in ISO style and reports whether it lies before Christ, which the caller appends last.
func appendDate(dst []byte, days int64) ([]byte, bool) {
	year, month, day := civil(days)
	bc := year <= 0
	if bc {
		year = 1 - year
	}
	for limit := int64(1000); limit > 1 && year < limit; limit /= 10 {
		dst = append(dst, '0')
	}
	dst = strconv.AppendInt(dst, year, 10)
	dst = append(dst, '-')
	dst = appendDigits2(dst, month)
	dst = append(dst, '-')
	return appendDigits2(dst, day), bc
}

// appendTime prints a time of day, 24:00:00 included.
func appendTime(dst []byte, us int64) []byte {
	sec, frac := us/1000000, us%1000000
	dst = appendDigits2(dst, int(sec/3600))
	dst = append(dst, ':')
	dst = appendDigits2(dst, int(sec/60%60))
	dst = append(dst, ':')
	dst = appendDigits2(dst, int(sec%60))
	if frac == 0 {
		return dst
	}
	dst = append(dst, '.')
	for unit := int64(100000); frac > 0; unit /= 10 {
		dst = append(dst, byte('0'+frac/unit))
		frac %= unit
	}
	return dst
}

// appendTimestamp prints a timestamp in ISO style, with the zone of UTC if utc is set.
func appendTimestamp(dst []byte, us int64, utc bool) []byte {
	days := us / microsPerDay
	us -= days * microsPerDay
	if us < 0 {
		us += microsPerDay
		days--
	}
	dst, bc := appendDate(dst, days)
	dst = append(dst, ' ')
	dst = appendTime(dst, us)
	if utc {
		dst = append(dst, "+00"...)
	}
	if bc {
		dst = append(dst, " BC"...)
	}
	return dst
}

func appendDigits2(dst []byte, n int) []byte {
	return append(dst, byte('0'+n/10), byte('0'+n%10))
}
