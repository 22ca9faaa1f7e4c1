package api

import (
	"bytes"
	"math"
	"mime"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

// checkBodyHeaders refuses a body that can't be read as JSON. A form is read as
// JSON too: that is what "curl -d" calls everything.
func checkBodyHeaders(header *fasthttp.RequestHeader, size int) error {
	if coding := header.ContentEncoding(); len(coding) > 0 && !bytes.EqualFold(coding, []byte("identity")) {
		return refuse(codeEncoding, "a body must not be compressed")
	}
	contentType := string(header.ContentType())
	if contentType == "" || contentType == fiber.MIMEApplicationJSON {
		return nil
	}
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || !isJSON(media) {
		return refuse(codeMediaType, "parameters are sent as application/json")
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return refuse(codeMediaType, "JSON is encoded in UTF-8")
	}
	return nil
}

func isJSON(media string) bool {
	switch media {
	case "application/json", "application/x-www-form-urlencoded":
		return true
	}
	return strings.HasSuffix(media, "+json")
}

// seconds is a limit as a number of seconds.
var seconds = regexp.MustCompile(`^[0-9]{1,9}(\.[0-9]{1,9})?$`)

// callerTimeout is the limit that a caller sets for the action. 0 = none.
func callerTimeout(query url.Values) (time.Duration, error) {
	if !query.Has("timeout") {
		return 0, nil
	}
	limit, ok := parseTimeout(query.Get("timeout"))
	if !ok {
		return 0, refuse(codeInvalidQuery, `timeout must be a positive number of seconds or a duration like "500ms"`)
	}
	return limit, nil
}

// preferences are those of RFC 7240 that calls heed. With either of them a call
// is an asynchronous one.
type preferences struct {
	async bool
	wait  time.Duration // for the result; 0 = not at all
}

func (p preferences) any() bool { return p.async || p.wait > 0 }

func readPreferences(header *fasthttp.RequestHeader) (preferences, error) {
	var p preferences
	wait := time.Duration(math.MaxInt64)
	for _, line := range header.PeekAll("Prefer") {
		shorter, async, ok := parsePrefer(string(line))
		if !ok {
			return p, refuse(codeInvalidHeader, "wait in Prefer must be a positive whole number of seconds")
		}
		p.async, wait = p.async || async, min(wait, shorter)
	}
	if wait < math.MaxInt64 {
		p.wait = wait
	}
	return p, nil
}

func parseTimeout(text string) (time.Duration, bool) {
	if seconds.MatchString(text) {
		text += "s"
	}
	limit, err := time.ParseDuration(text)
	return limit, err == nil && limit > 0
}

// parsePrefer finds wait=N (MaxInt64 = it isn't there) and respond-async among
// preferences. Others are ignored, as RFC 7240 allows.
func parsePrefer(line string) (wait time.Duration, async, ok bool) {
	wait = time.Duration(math.MaxInt64)
	for preference := range strings.SplitSeq(line, ",") {
		preference, _, _ = strings.Cut(preference, ";")
		name, value, _ := strings.Cut(preference, "=")
		name = strings.TrimSpace(name)
		async = async || strings.EqualFold(name, "respond-async")
		if !strings.EqualFold(name, "wait") {
			continue
		}
		n, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 31)
		if err != nil || n == 0 {
			return 0, false, false
		}
		wait = min(wait, time.Duration(n)*time.Second)
	}
	return wait, async, true
}

// accepts tells whether the Accept header admits a media type.
func accepts(header *fasthttp.RequestHeader, media string) bool {
	return preference(header, media).quality > 0
}

// liking is what an Accept header thinks of a media type.
type liking struct {
	quality float64 // 0 = not accepted
	named   bool    // itself, not by a wildcard or by a missing header
}

// preference reads the Accept header. Of the ranges that match a media type the
// most specific one counts.
func preference(header *fasthttp.RequestHeader, media string) liking {
	lines := header.PeekAll(fasthttp.HeaderAccept)
	if len(lines) == 0 {
		return liking{quality: 1}
	}
	if len(lines) == 1 && string(lines[0]) == "*/*" { // what most clients send
		return liking{quality: 1}
	}
	media, _, _ = strings.Cut(media, ";")
	class, _, _ := strings.Cut(media, "/")
	var best liking
	specificity := 0
	for entry := range strings.SplitSeq(string(bytes.Join(lines, []byte(","))), ",") {
		name, params, _ := strings.Cut(strings.ToLower(entry), ";")
		rank := map[string]int{"*/*": 1, class + "/*": 2, media: 3}[strings.TrimSpace(name)]
		if rank > specificity {
			specificity, best = rank, liking{quality(params), rank == 3}
		}
	}
	return best
}

// quality is the q of a media range; 1 where there is none.
func quality(params string) float64 {
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(param, "=")
		if strings.TrimSpace(name) != "q" {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil {
			return 0
		}
		return q
	}
	return 1
}

// flag reads a parameter that is true or false; false where there is none.
func flag(query url.Values, name string) (bool, error) {
	switch query.Get(name) {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	case "":
		if !query.Has(name) {
			return false, nil
		}
	}
	return false, refuse(codeInvalidQuery, name+" must be true or false")
}
