package envcache

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// fuzzed makes inputs from a few strings; what has a list or a map gets one.
func fuzzed(identity, pack, argv, manifest, hash, variable string, epoch int64) inputs {
	in := inputs{
		Schema: schemaVersion, Identity: identity, Pack: pack, Runtime: "sh", Image: "sha256:1", OS: "linux", Arch: "amd64",
		Create: strings.Split(argv, "\x1f"), Manifests: map[string]string{manifest: hash, "deps.txt": "1"},
		Variants: []variantInput{{Needs: variable, Install: strings.Split(argv, " ")}},
		Vars:     map[string]string{variable: hash}, Copy: epoch%2 == 0, Epoch: epoch,
	}
	return in
}

// FuzzDigest compares two recipes: they share a digest if and only if nothing
// differs, and what a marker keeps of the inputs says the same again.
func FuzzDigest(f *testing.F) {
	f.Add("id", "demo", "a\x1fb", "m", "h", "V", int64(0), "id", "demo", "a b", "m", "h", "V", int64(0))
	f.Add("id", "demo", "a", "m", "h", "V", int64(0), "i", "ddemo", "a", "m", "h", "V", int64(0))
	f.Add("", "a\",\"runtime\":\"b", "", "", "", "", int64(0), "", "a", "", "", "", "", int64(0))
	f.Add("id", "demo", "a", "deps.txt", "h", "V", int64(0), "id", "demo", "a", "deps.txt", "1", "V", int64(1))
	f.Fuzz(func(t *testing.T, id1, pack1, argv1, man1, hash1, var1 string, epoch1 int64,
		id2, pack2, argv2, man2, hash2, var2 string, epoch2 int64) {
		// All inputs come from YAML or are our own, and so are UTF-8: JSON would
		// write every other byte as the same character.
		if slices.ContainsFunc([]string{id1, pack1, argv1, man1, hash1, var1, id2, pack2, argv2, man2, hash2, var2},
			func(s string) bool { return !utf8.ValidString(s) }) {
			return
		}
		one := fuzzed(id1, pack1, argv1, man1, hash1, var1, epoch1)
		two := fuzzed(id2, pack2, argv2, man2, hash2, var2, epoch2)
		if same := reflect.DeepEqual(one, two); (one.digest() == two.digest()) != same {
			t.Errorf("equal: %v, digests %s and %s, of\n%+v\n%+v", same, one.digest(), two.digest(), one, two)
		}
		for _, in := range []inputs{one, two} {
			canonical, err := json.Marshal(in)
			if err != nil {
				t.Fatal(err)
			}
			var again inputs
			if err := json.Unmarshal(canonical, &again); err != nil || again.digest() != in.digest() {
				t.Errorf("%s read again has digest %s, %v, want %s", canonical, again.digest(), err, in.digest())
			}
		}
	})
}

// FuzzWish reads whatever is there for a wish: no panic, nothing that isn't a
// digest where it becomes a path, and what is written is read again.
func FuzzWish(f *testing.F) {
	f.Fuzz(func(t *testing.T, content []byte) {
		v := newVolume(t)
		write(t, v.wanted("demo", "sh"), string(content))
		w, err := v.wish("demo", "sh")
		if err != nil {
			if !strings.Contains(err.Error(), v.wanted("demo", "sh")) {
				t.Errorf("wish() = %v, which names no file to remove", err)
			}
			return
		}
		for _, digest := range append(w.kept(maxHistory), w.Refused) {
			if digest != "" && !digestGrammar.MatchString(digest) {
				t.Errorf("wish() has %q for a digest", digest)
			}
		}
		if w.Revision == math.MaxInt64 {
			return // nobody has counted that far
		}
		before := w.Revision
		w.wants(someDigest)
		w.shows(someDigest, w.Revision)
		if err := v.setWish("demo", "sh", w); err != nil {
			t.Fatal(err)
		}
		again, err := v.wish("demo", "sh")
		if err != nil || again.Revision != before+1 || again.Shown != before+1 || again.Digest != someDigest || again.History[0] != someDigest {
			t.Errorf("wish() = %+v, %v after %+v was written", again, err, w)
		}
	})
}

// FuzzFailureRecord reads whatever is there for a record: it can keep a build
// back for as long as a record may, and no longer.
func FuzzFailureRecord(f *testing.F) {
	f.Fuzz(func(t *testing.T, content []byte) {
		v := newVolume(t)
		write(t, v.failure(someDigest), string(content))
		err := v.recentFailure(someDigest)
		if err == nil {
			return
		}
		var failed *FailedError
		if !errors.As(err, &failed) {
			t.Fatalf("recentFailure() = %T", err)
		}
		if wait := time.Until(failed.NextRetry); wait > 2*maxBuildBackoff {
			t.Errorf("a record holds builds up for %v", wait)
		}
		record := v.failureRecord(someDigest)
		if d := backoff(failed.Attempt+1, record.Infrastructure); d <= 0 || d > 2*maxBuildBackoff {
			t.Errorf("after %d attempts the back-off is %v", failed.Attempt, d)
		}
	})
}

// FuzzClaim reads whatever is the name of a claimed attempt. Whoever claimed it,
// it gets old, is found by the attempt's name, and can be taken over.
func FuzzClaim(f *testing.F) {
	f.Fuzz(func(t *testing.T, mark string) {
		age := claimAge(claimMark + mark)
		if age < 0 {
			t.Errorf("claimAge(%q) = %v", mark, age)
		}
		v := newVolume(t)
		name := someDigest + ".00112233"
		claimed := name + claimMark + mark
		if !filepath.IsLocal(claimed) || strings.Contains(mark, "/") || os.Mkdir(v.attempt(claimed), 0o755) != nil {
			return // no such name on this file system
		}
		if found, err := v.findAttempt(name); err != nil || found != claimed {
			t.Fatalf("findAttempt() = %q, %v, want %q", found, err, claimed)
		}
		if _, err := v.claim(name, age+time.Hour); !errors.Is(err, errAgain) && age < age+time.Hour {
			t.Errorf("claim() of a young claim = %v, want errAgain", err)
		}
		mine, err := v.claim(name, 0)
		if err != nil {
			t.Fatalf("claim() of an old claim = %v", err)
		}
		if err := v.unclaim(mine); err != nil || !v.hasAttempt(name) {
			t.Errorf("unclaim(%q) = %v, there: %v", mine, err, v.hasAttempt(name))
		}
	})
}

// FuzzCredentials prints a URL with a password in pieces of any size, and among
// any other output: the password is in no line and not in what is kept.
func FuzzCredentials(f *testing.F) {
	f.Fuzz(func(t *testing.T, before, user, after []byte, size int) {
		const secret = "S3cr3tT0ken"
		if strings.ContainsAny(string(user), "/ \t\n\v\f\r") || strings.Contains(string(before)+string(after)+string(user), secret) || len(user) > 256 {
			return // it is no user part, or the secret was in the open already
		}
		check := func(where, text string) {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows the password: %q", where, text)
			}
		}
		log := newBuildLog(func(line string) { check("a line", line) })
		output := append([]byte(nil), before...)
		output = append(output, "https://"...)
		output = append(append(output, user...), (":" + secret + "@index/simple")...)
		output = append(output, after...)
		for rest := output; len(rest) > 0; {
			n := min(max(size, 1), len(rest))
			if _, err := log.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		check("the log", string(log.bytes()))
		check("the tail", log.tail())
		_, last := log.ending()
		check("the reason", last)
	})
}
