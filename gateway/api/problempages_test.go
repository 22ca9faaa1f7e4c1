package api

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"attune/gateway/execution"
	"attune/tests/kit"
)

// TestProblemsAreDocumented: docs/problems.md is the catalogue; -update writes it.
func TestProblemsAreDocumented(t *testing.T) {
	t.Parallel()
	kit.Golden(t, "../../../docs/problems.md", []byte(markdownList(allPages())))
}

func TestEveryProblemHasAPage(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	_, list := w.do(t, "GET", "/problems", "", "Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	for code, k := range kinds {
		if k.status < 400 || k.title == "" || k.meaning == "" || k.cure == "" || !problemSlug.MatchString(code) {
			t.Errorf("%q = %+v, want everything", code, k)
		}
		for accept, media := range map[string]string{
			"text/html,application/xhtml+xml,*/*;q=0.8": "text/html; charset=utf-8",
			"*/*":              "text/markdown; charset=utf-8",
			"application/json": "application/json",
		} {
			response, body := w.do(t, "GET", "/problems/"+code, "", "Accept", accept)
			if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != media || !strings.Contains(body, code) {
				t.Errorf("GET /problems/%s for %s = %d %s\n%s", code, accept, response.StatusCode, response.Header.Get("Content-Type"), body)
			}
			if media != "text/html; charset=utf-8" {
				continue
			}
			if policy := response.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") {
				t.Errorf("Content-Security-Policy = %q, want a page that loads nothing", policy)
			}
			for _, foreign := range []string{"<script", "http://", "https://", "src="} {
				if strings.Contains(body, foreign) {
					t.Errorf("the page of %s has %s", code, foreign)
				}
			}
		}
		if !strings.Contains(list, `href="/problems/`+code+`"`) {
			t.Errorf("the list leaves out %s", code)
		}
	}
	w.raw(t, "GET /problems/"+strings.ToLower("nosuch-problem")+" HTTP/1.1\r\n"+host+"\r\n").refused(t, 404, "not-found", true)
	w.raw(t, "GET /problems HTTP/1.1\r\n"+host+"Accept: image/png\r\n\r\n").refused(t, 406, "not-acceptable", true)
}

// TestProblemTypeIsAPage: what a problem calls itself can be looked up as it is.
func TestProblemTypeIsAPage(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	a := w.raw(t, "GET /nothing HTTP/1.1\r\n"+host+"\r\n")
	response, body := w.do(t, "GET", a.problem.Type, "", "Accept", "application/json")
	var page problemPage
	if err := json.Unmarshal([]byte(body), &page); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("GET %s = %d %s (%v)", a.problem.Type, response.StatusCode, body, err)
	}
	if page.Type != a.problem.Type || page.Title != a.problem.Title || page.Status != a.problem.Status {
		t.Errorf("page = %+v, problem = %+v", page, a.problem)
	}
}

// source is the program's own, without its tests.
func source(t *testing.T) map[string]*ast.File {
	t.Helper()
	files := map[string]*ast.File{}
	set := token.NewFileSet()
	for _, root := range []string{"..", "../../cmd"} {
		err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files[path], err = parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// TestCodesAndPagesAreTheSame: every code has a page, every page a code that
// somebody uses.
func TestCodesAndPagesAreTheSame(t *testing.T) {
	t.Parallel()
	declared, uses := map[string]string{}, map[string]int{} // by name: the code; how often it is written
	for path, file := range source(t) {
		dir := filepath.Base(filepath.Dir(path))
		if !slices.Contains([]string{"api", "delivery", "execution", "queue"}, dir) {
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				for i, name := range n.Names {
					if isCode(name.Name) && i < len(n.Values) {
						declared[name.Name] = literal(n.Values[i])
					}
				}
			case *ast.Ident:
				if isCode(n.Name) && filepath.Base(path) != "problems.go" {
					uses[n.Name]++
				}
			}
			return true
		})
	}
	codes := map[string]bool{}
	for name, code := range declared {
		codes[code] = true
		if uses[name] < 2 { // its declaration is one
			t.Errorf("%s (%s) is used nowhere", name, code)
		}
		if _, ok := kinds[code]; !ok {
			t.Errorf("%s (%s) has no page", name, code)
		}
	}
	for _, code := range slices.Sorted(maps.Keys(kinds)) {
		if !codes[code] {
			t.Errorf("the page of %s is of no code", code)
		}
	}
	if len(codes) < 40 {
		t.Errorf("only %d codes were found", len(codes))
	}
}

func isCode(name string) bool {
	rest, ok := strings.CutPrefix(strings.ToLower(name[:1])+name[1:], "code")
	return ok && rest != "" && rest[0] >= 'A' && rest[0] <= 'Z'
}

func literal(e ast.Expr) string {
	if basic, ok := e.(*ast.BasicLit); ok && basic.Kind == token.STRING {
		text, _ := strconv.Unquote(basic.Value) // it has been parsed
		return text
	}
	return ""
}

// TestEveryFailureSaysWhere: no failure is made without its component and phase;
// whether it can be retried and whether it was started are members of every
// problem, false where nothing else is said.
func TestEveryFailureSaysWhere(t *testing.T) {
	t.Parallel()
	found := 0
	for path, file := range source(t) {
		ast.Inspect(file, func(n ast.Node) bool {
			made, ok := n.(*ast.CompositeLit)
			if !ok || !strings.HasSuffix(typeName(made.Type), "Failure") || len(made.Elts) == 0 {
				return true
			}
			keys := map[string]bool{}
			for _, element := range made.Elts {
				if pair, ok := element.(*ast.KeyValueExpr); ok {
					keys[pair.Key.(*ast.Ident).Name] = !isEmpty(pair.Value)
				}
			}
			if !keys["Code"] {
				return true // another Failure
			}
			found++
			if !keys["Component"] || !keys["Phase"] || !keys["Reason"] {
				t.Errorf("%s makes a Failure of %v: it lacks component, phase or reason", path, slices.Sorted(maps.Keys(keys)))
			}
			return true
		})
	}
	if found < 5 {
		t.Errorf("only %d failures were found", found)
	}
	members, err := json.Marshal(Problem{})
	if err != nil {
		t.Fatal(err)
	}
	for _, member := range []string{"component", "phase", "retryable", "started", "instance"} {
		if !strings.Contains(string(members), `"`+member+`"`) {
			t.Errorf("a problem can be without %s", member)
		}
	}
}

func isEmpty(e ast.Expr) bool {
	basic, ok := e.(*ast.BasicLit)
	return ok && basic.Value == `""`
}

func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.X.(*ast.Ident).Name + "." + e.Sel.Name
	}
	return ""
}

// TestRefusalsSayWhere looks at what refuse makes, which all of the api's are.
func TestRefusalsSayWhere(t *testing.T) {
	t.Parallel()
	for _, err := range []*execution.Error{refuse(codeInvalidQuery, "x"), errDraining()} {
		if err.Component == "" || err.Phase == "" || err.Reason == "" {
			t.Errorf("%+v, want all of it", err.Failure)
		}
	}
}
