package api

import (
	"fmt"
	"html"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"attune/gateway/execution"
)

// Media types of a problem's page.
const (
	mediaHTML     = "text/html"
	mediaMarkdown = "text/markdown"
)

// pagePolicy lets a page load and run nothing.
const pagePolicy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// problemSlug is what the code of a problem looks like.
var problemSlug = regexp.MustCompile(`^[a-z]{1,24}(-[a-z]{1,24}){0,4}$`)

// problemPage is a page about one code.
type problemPage struct {
	Type    string `json:"type"`
	Title   string `json:"title"`
	Status  int    `json:"status"`
	Meaning string `json:"meaning"`
	Cure    string `json:"cure"`
}

func pageOf(code string) problemPage {
	k := kinds[code]
	return problemPage{Type: "/problems/" + code, Title: k.title, Status: k.status, Meaning: k.meaning, Cure: k.cure}
}

// allPages are the pages by status, then by name.
func allPages() []problemPage {
	var pages []problemPage
	for _, code := range slices.Sorted(maps.Keys(kinds)) {
		pages = append(pages, pageOf(code))
	}
	slices.SortStableFunc(pages, func(a, b problemPage) int { return a.Status - b.Status })
	return pages
}

// listProblems shows every problem that there is.
func (s *Server) listProblems(c *fiber.Ctx, _ *call) error {
	return writePage(c, wholePage(allPages()), "Problems of Attune Gateway", markdownList(allPages()), htmlList(allPages()))
}

// showProblem explains one problem.
func (s *Server) showProblem(c *fiber.Ctx, _ *call) error {
	slug := c.Params("slug")
	if !problemSlug.MatchString(slug) {
		return refuse(execution.CodeInvalidRef, "a problem is called by small letters and -")
	}
	if _, known := kinds[slug]; !known {
		return refuse(execution.CodeNotFound, "there is no such problem")
	}
	page := pageOf(slug)
	return writePage(c, page, page.Title, page.markdown("#"), page.html())
}

// writePage answers in the form that the client likes best: browsers name HTML,
// programs JSON, and whoever says nothing reads Markdown.
func writePage(c *fiber.Ctx, document any, title, markdown, body string) error {
	header := &c.Request().Header
	page, data, text := preference(header, mediaHTML), preference(header, fiber.MIMEApplicationJSON), preference(header, mediaMarkdown)
	switch {
	case page.named && page.quality > 0 && page.quality >= data.quality:
		c.Set(fiber.HeaderContentSecurityPolicy, pagePolicy)
		return writeText(c, mediaHTML, htmlDocument(title, body))
	case data.named && data.quality > 0:
		return writeJSON(c, document)
	case text.quality > 0 || preference(header, "text/plain").quality > 0:
		return writeText(c, mediaMarkdown, markdown)
	}
	return refuse(codeNotAcceptable, "the page is "+mediaHTML+", "+mediaMarkdown+" or "+fiber.MIMEApplicationJSON)
}

func writeText(c *fiber.Ctx, media, text string) error {
	c.Set(fiber.HeaderContentType, media+"; charset=utf-8")
	return c.SendString(text)
}

func (p problemPage) slug() string { return strings.TrimPrefix(p.Type, "/problems/") }

func (p problemPage) markdown(heading string) string {
	return fmt.Sprintf("%s %s\n\n`%s`, status %d\n\n%s\n\n**What to do:** %s\n", heading, p.Title, p.slug(), p.Status, p.Meaning, p.Cure)
}

func (p problemPage) html() string {
	e := html.EscapeString
	return fmt.Sprintf("<h1>%s</h1>\n<p><code>%s</code>, status %d</p>\n<p>%s</p>\n<h2>What to do</h2>\n<p>%s</p>\n<p><a href=\"/problems\">All problems</a></p>\n",
		e(p.Title), e(p.slug()), p.Status, e(p.Meaning), e(p.Cure))
}

// problemsPreface says what every problem has in common.
const problemsPreface = "Every error is `application/problem+json` (RFC 9457). `type` names one of the problems below, `component` says which\n" +
	"part failed, `phase` when, `retryable` whether the same call may succeed later, and `started` whether the action's\n" +
	"program may have run. `Retry-After` is there where a time can be computed. `instance` is the request's ID, also in the\n" +
	"gateway's log; `execution` is there once there is one. The same pages are at `/problems/<code>` of every gateway.\n"

func markdownList(pages []problemPage) string {
	var b strings.Builder
	b.WriteString("# Problems\n\n" + problemsPreface)
	for _, p := range pages {
		b.WriteString("\n" + p.markdown("##"))
	}
	return b.String()
}

func htmlList(pages []problemPage) string {
	var b strings.Builder
	b.WriteString("<h1>Problems</h1>\n<table>\n<tr><th>Status</th><th>Code</th><th>Problem</th></tr>\n")
	for _, p := range pages {
		fmt.Fprintf(&b, "<tr><td>%d</td><td><a href=\"%s\"><code>%s</code></a></td><td>%s</td></tr>\n",
			p.Status, html.EscapeString(p.Type), html.EscapeString(p.slug()), html.EscapeString(p.Title))
	}
	return b.String() + "</table>\n"
}

func htmlDocument(title, body string) string {
	return "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>" +
		html.EscapeString(title) + "</title>\n<style>\nbody { font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem; }\n" +
		"td, th { text-align: left; padding: 0 1rem 0 0; vertical-align: top; }\n</style>\n</head>\n<body>\n" + body + "</body>\n</html>\n"
}
