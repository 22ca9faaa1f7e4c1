package api

import (
	"embed"
	"path"
	"regexp"

	"github.com/gofiber/fiber/v2"

	"attune/gateway/execution"
)

// The page at /docs shows /openapi.json, and calls what it shows. It is written
// by hand and whole: nothing of it comes from elsewhere, and no script stands in
// the page, so that its policy can forbid all others.
//
//go:embed docs
var docs embed.FS

const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

var docMedia = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
}

// docFile is the grammar of a part's name.
var docFile = regexp.MustCompile(`^[a-z]{1,20}\.(js|css)$`)

// docFiles are the parts of the page.
func docFiles() []any { return []any{"docs.js", "docs.css", "schema.js"} }

func (s *Server) showDocs(c *fiber.Ctx, _ *call) error {
	name := "index.html"
	if file := c.Params("file"); file != "" {
		if !docFile.MatchString(file) {
			return refuse(execution.CodeInvalidRef, "a file of the page is letters and .js or .css")
		}
		name = file
	}
	content, err := docs.ReadFile("docs/" + name)
	if err != nil {
		return refuse(execution.CodeNotFound, "the page has no such file")
	}
	c.Set(fiber.HeaderContentType, docMedia[path.Ext(name)])
	c.Set(fiber.HeaderContentSecurityPolicy, docsPolicy)
	c.Set(fiber.HeaderReferrerPolicy, "no-referrer")
	c.Context().SetBody(content)
	return nil
}
