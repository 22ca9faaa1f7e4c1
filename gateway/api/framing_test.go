package api

import (
	"strings"
	"testing"
)

// Ensure every header that may come once is known in any case, and refused when
// it comes twice, even without a value.
func TestSingletons(t *testing.T) {
	t.Parallel()
	names := []string{
		"Host", "Content-Length", "Transfer-Encoding", "Expect", "Content-Type", "Content-Encoding",
		"Authorization", "Origin", "Sec-Fetch-Site", "Idempotency-Key", "Callback-Url",
	}
	if len(names) != int(singletonCount) {
		t.Errorf("%d names for %d singletons", len(names), singletonCount)
	}
	seen := map[singleton]string{}
	for _, name := range names {
		key, ok := lowerSingleton([]byte(strings.ToUpper(name)))
		if other, taken := seen[key]; !ok || taken {
			t.Errorf("lowerSingleton(%s) = %d, %v, which is %q", name, key, ok, other)
		}
		seen[key] = name
		for _, value := range []string{"", " v"} {
			var once, twice singletons
			if refused := once.read([]byte(name+":"+value+"\r\n\r\n"), 10); refused != nil || once[key] == nil {
				t.Errorf("%s:%s once: %v, value %q", name, value, refused, once[key])
			}
			if twice.read([]byte(name+":"+value+"\r\nX: y\r\n"+strings.ToLower(name)+":"+value+"\r\n\r\n"), 10) == nil {
				t.Errorf("%s:%s twice is not refused", name, value)
			}
		}
	}
	for _, name := range []string{"", "Accept", "Hos", "Transfer-Encodings", "Content_Length", strings.Repeat("x", 1000)} {
		if key, ok := lowerSingleton([]byte(name)); ok {
			t.Errorf("lowerSingleton(%.30s) = %d", name, key)
		}
	}
}
