package show

import "testing"

func TestGroups(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"": "0", "7": "7", "1234": "1 234", "-1234567": "-1 234 567", "123456": "123 456", "1e9": "1e9"} {
		if got := Groups(in); got != want {
			t.Errorf("groups(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestDisplayWidth(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int{"": 0, "abc": 3, "é": 1, "e\u0301": 1, "日本": 4, "한": 2, "…": 1, "😀": 2} {
		if got := Width(in); got != want {
			t.Errorf("displayWidth(%q) = %d, want %d", in, got, want)
		}
	}
}
