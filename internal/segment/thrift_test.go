package segment

import "testing"

func TestThriftStructLen(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		in   []byte
		want int
		ok   bool
	}{
		"empty struct":          {[]byte{0, 9, 9}, 1, true},
		"nothing":               {nil, 0, false},
		"i32 field":             {[]byte{0x15, 0x80, 0x01, 0}, 4, true},
		"boolean field":         {[]byte{0x11, 0}, 2, true},
		"binary":                {[]byte{0x18, 2, 'a', 'b', 0}, 5, true},
		"binary too long":       {[]byte{0x18, 0xff, 0xff, 0xff, 0xff, 0x07, 0}, 0, false},
		"list of i32":           {[]byte{0x19, 0x25, 1, 2, 0}, 5, true},
		"list too long":         {[]byte{0x19, 0xf5, 0xff, 0xff, 0xff, 0xff, 0x07, 0}, 0, false},
		"map":                   {[]byte{0x1b, 1, 0x58, 1, 1, 'x', 0}, 7, true},
		"nested":                {[]byte{0x1c, 0x15, 1, 0, 0}, 5, true},
		"nested without end":    {[]byte{0x1c, 0x15, 1, 0}, 0, false},
		"unknown type":          {[]byte{0x1f, 0}, 0, false},
		"too deep":              {[]byte{0x1c, 0x1c, 0x1c, 0x1c, 0x1c, 0x1c, 0x1c, 0x1c, 0x1c, 0x1c, 0x1c, 0x1c, 0x1c, 0x1c, 0x1c, 0x1c, 0x1c, 0x1c, 0x1c}, 0, false},
		"double":                {[]byte{0x17, 1, 2, 3, 4, 5, 6, 7, 8, 0}, 10, true},
		"field id without data": {[]byte{0x05}, 0, false},
	} {
		n, ok := thriftStructLen(tc.in)
		if ok != tc.ok || ok && n != tc.want {
			t.Errorf("%s: got %d, %v; want %d, %v", name, n, ok, tc.want, tc.ok)
		}
	}
}
