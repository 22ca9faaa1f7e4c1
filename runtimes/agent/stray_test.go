package agent

import (
	"strings"
	"testing"
)

// What a worker prints behind its wire's back may come late: once a call had
// secrets, no other call gets it.
func TestStrayOutputOfSecretCallsIsNobodys(t *testing.T) {
	t.Parallel()
	w := &Worker{}
	var first, second strings.Builder
	w.direct(&capture{w: &first, left: 99}, nil)
	stray{w, false}.take([]byte("open"))
	w.keepSecrets()
	w.direct(&capture{w: &second, left: 99}, nil)
	stray{w, false}.take([]byte("late"))
	if first.String() != "open" || second.String() != "" {
		t.Errorf("the calls got %q and %q", first.String(), second.String())
	}
}
