package pack

import (
	"errors"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"attune/gateway/hook"
	"attune/runtimes"
)

// orders is an action with a parameter of each sort.
const orders = `ref: shop.order
runner_type: shell
entry_point: a.sh
parameters:
  order: {type: object, required: true}
  page: {type: integer}
  topic: {type: string}
  urgent: {type: boolean, default: false}
  token: {type: string, required: true, secret: true}
`

func TestLoadHooks(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "shop")
	write(t, dir, map[string]string{
		"actions/order.yaml": orders,
		"hooks/paid.yaml": `
ref: shop.paid
description: an order was paid
action: shop.order
verify: {preset: stripe, secrets: ["secret:stripe_hook", "secret:stripe_hook_2"]}
parameters: {order: /body/data/object, topic: /headers/x-topic, page: /query/page}
`,
		"hooks/any.yaml": `
ref: shop.any
label: Anything
action: shop.a
verify: none
dedupe: x-delivery-id
response: sync
enabled: false
`,
		"hooks/own.yml": `
ref: shop.own
action: shop.a
verify:
  preset: hmac
  header: x-signature
  algorithm: sha512
  encoding: base64
  prefix: "v1="
  secrets: [a literal one]
  verify_token: secret:meta_token
dedupe: X-Id
`,
		"hooks/tok.yaml": "ref: shop.tok\naction: shop.a\nverify: {preset: token, header: authorization, prefix: 'Bearer ', secrets: ['secret:t']}\nparameters: {}\n",
	})
	pack, err := Load(dir, runtimes.Builtin(), LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stripe, _ := hook.Preset("stripe")
	a, order := ActionRef{"shop", "a"}, ActionRef{"shop", "order"}
	want := []*Hook{
		{Ref: ActionRef{"shop", "any"}, Label: "Anything", Action: a, Sync: true,
			Verify: Verify{Preset: "none", Scheme: hook.Scheme{IDHeader: "X-Delivery-Id"}}},
		{Ref: ActionRef{"shop", "own"}, Label: "Own", Action: a, Enabled: true, Verify: Verify{
			Preset:  "hmac",
			Scheme:  hook.Scheme{Header: "X-Signature", Algorithm: "sha512", Encoding: "base64", Prefix: "v1=", IDHeader: "X-Id"},
			Secrets: []HookSecret{{Literal: "a literal one"}}, Challenge: &HookSecret{Name: "meta_token"},
		}},
		{Ref: ActionRef{"shop", "paid"}, Label: "Paid", Description: "an order was paid", Action: order, Enabled: true,
			Verify: Verify{Preset: "stripe", Scheme: stripe, Secrets: []HookSecret{{Name: "stripe_hook"}, {Name: "stripe_hook_2"}}},
			Mapping: []Mapping{
				{Parameter: "order", Pointer: "/body/data/object"},
				{Parameter: "page", Pointer: "/query/page"},
				{Parameter: "topic", Pointer: "/headers/x-topic"},
			}},
		{Ref: ActionRef{"shop", "tok"}, Label: "Tok", Action: a, Enabled: true, Mapping: []Mapping{}, Verify: Verify{
			Preset: "token", Scheme: hook.Scheme{Header: "Authorization", Prefix: "Bearer "}, Secrets: []HookSecret{{Name: "t"}}}},
	}
	if diff := cmp.Diff(want, pack.Hooks, cmpopts.IgnoreUnexported(Mapping{}, hook.Scheme{})); diff != "" {
		t.Errorf("hooks (-want +got):\n%s", diff)
	}
	if len(pack.Warnings) != 1 || !strings.HasPrefix(pack.Warnings[0].Error(), "hooks/own.yml:10: verify.secrets has a secret that everybody can read") {
		t.Errorf("warnings = %v, want one of the literal secret", pack.Warnings)
	}
	if strings.Contains(pack.Warnings[0].Error(), "literal one") {
		t.Error("the warning tells the secret")
	}
}

func TestHookFaults(t *testing.T) {
	t.Parallel()
	const good = "ref: shop.h\naction: shop.a\n"
	for name, test := range map[string]struct {
		text string
		want []string
	}{
		"nothing said": {"label: x\n", []string{
			"hooks/h.yaml: ref is missing, for example ref: shop.h", "hooks/h.yaml: action is missing", "hooks/h.yaml: verify must say how"}},
		"unknown key":         {good + "verify: none\nsecret: x\n", []string{`hooks/h.yaml:4: unknown key "secret"`}},
		"another pack":        {"ref: other.h\naction: other.a\nverify: none\n", []string{"hooks/h.yaml:1: ref other.h isn't in this pack", "hooks/h.yaml:2: action other.a isn't in this pack"}},
		"no such action":      {"ref: shop.h\naction: shop.ordr\nverify: none\n", []string{`hooks/h.yaml:2: action "shop.ordr" doesn't exist: did you mean "shop.order"?`}},
		"a word for verify":   {good + "verify: github\n", []string{"hooks/h.yaml:3: verify must say how requests are proven"}},
		"unknown preset":      {good + "verify: {preset: githib, secrets: [x]}\n", []string{`hooks/h.yaml:3: verify.preset "githib" doesn't exist: did you mean "github"?`}},
		"no secrets":          {good + "verify: {preset: github}\n", []string{"hooks/h.yaml:3: verify.secrets is missing"}},
		"secrets of none":     {good + "verify: {preset: none, secrets: ['secret:a']}\n", []string{"hooks/h.yaml:3: verify.secrets are given, but"}},
		"no secret's name":    {good + "verify: {preset: github, secrets: ['secret:2x', '']}\n", []string{"hooks/h.yaml:3: verify.secrets: after secret:", "hooks/h.yaml:3: verify.secrets: a secret is empty"}},
		"short literal":       {good + "verify: {preset: github, secrets: [short]}\n", []string{"hooks/h.yaml:3: verify.secrets: secret 1: must have at least 8 bytes"}},
		"known scheme's keys": {good + "verify: {preset: github, header: X, secrets: ['secret:a']}\n", []string{"hooks/h.yaml:3: verify.header is not for the preset github"}},
		"algorithm of a token": {good + "verify: {preset: token, header: X, algorithm: sha256, secrets: ['secret:a']}\n",
			[]string{"hooks/h.yaml:3: verify.algorithm is not for the preset token"}},
		"hmac without a header": {good + "verify: {preset: hmac, secrets: ['secret:a']}\n", []string{"hooks/h.yaml:3: verify.header must be the name"}},
		"unknown algorithm":     {good + "verify: {preset: hmac, header: X, algorithm: md5, secrets: ['secret:a']}\n", []string{`hooks/h.yaml:3: verify: algorithm "md5": there is sha1, sha256, sha512`}},
		"dedupe of a sender":    {good + "verify: {preset: github, secrets: ['secret:a']}\ndedupe: X-Id\n", []string{"hooks/h.yaml:4: dedupe is for senders without"}},
		"dedupe by the body":    {good + "verify: none\ndedupe: /body/id\n", []string{"hooks/h.yaml:4: dedupe must be the name of the header"}},
		"response":              {good + "verify: none\nresponse: synch\n", []string{`hooks/h.yaml:4: response "synch" doesn't exist: did you mean "sync"?`}},
		"pointers": {"ref: shop.h\naction: shop.order\nverify: none\nparameters: {\n  order: body, page: /cookies/a,\n  topic: /headers/X-A, urgent: /query,\n  ordr: /body/~2}\n", []string{
			`hooks/h.yaml:5: parameters.order "body" is no JSON Pointer`,
			`hooks/h.yaml:7: parameters: shop.order has no parameter "ordr": did you mean "order"?`,
			`hooks/h.yaml:7: parameters.ordr "/body/~2" is no JSON Pointer`,
			`hooks/h.yaml:5: parameters.page "/cookies/a" must begin with /body, /headers or /query`,
			`hooks/h.yaml:6: parameters.topic "/headers/X-A" must have the header's name in lower case`,
			`hooks/h.yaml:6: parameters.urgent "/query" must name one value of query`,
		}},
		"a required one is missing": {"ref: shop.h\naction: shop.order\nverify: none\nparameters: {page: /query/p}\n",
			[]string{"hooks/h.yaml:4: parameters: shop.order requires order, and no pointer says where it is"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "shop")
			write(t, dir, map[string]string{"actions/order.yaml": orders, "hooks/h.yaml": test.text})
			got := faultsOf(t, dir, LoadOptions{})
			if len(got) != len(test.want) {
				t.Fatalf("faults = %q, want %q", got, test.want)
			}
			for i, want := range test.want {
				if !strings.HasPrefix(got[i], want) {
					t.Errorf("fault %d = %s, want %s…", i, got[i], want)
				}
			}
		})
	}
	dir := filepath.Join(t.TempDir(), "shop")
	write(t, dir, map[string]string{"hooks/h.yaml": good + "verify: none\n", "hooks/i.yaml": good + "verify: none\n"})
	if got := faultsOf(t, dir, LoadOptions{}); len(got) != 1 || got[0] != "hooks/i.yaml: ref shop.h is also that of hooks/h.yaml" {
		t.Errorf("faults of two hooks of one ref = %q", got)
	}
}

func TestHookParameters(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "shop")
	write(t, dir, map[string]string{
		"actions/order.yaml": orders,
		"hooks/mapped.yaml": "ref: shop.mapped\naction: shop.order\nverify: none\n" +
			"parameters: {order: /body/data/0/a~1b, topic: /headers/x-topic, page: /query/page, urgent: /query/urgent}\n",
		"hooks/whole.yaml": "ref: shop.whole\naction: shop.a\nverify: none\n",
	})
	pack, err := Load(dir, runtimes.Builtin(), LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mapped, whole := pack.Hooks[0], pack.Hooks[1]
	order, plain := pack.Actions[1], pack.Actions[0]
	token := &Hook{Mapping: []Mapping{{Parameter: "token"}}}
	if mapped.TakesSecrets(order) || whole.TakesSecrets(plain) || !whole.TakesSecrets(order) || !token.TakesSecrets(order) {
		t.Error("TakesSecrets() of a hook is wrong: the action's token is a secret")
	}
	const deep = `{"data":[{"a/b":{"n":12345678901234567890.10}}]}`
	for name, test := range map[string]struct {
		hook    *Hook
		payload Payload
		want    string
		err     error
	}{
		"all": {mapped, Payload{Headers: map[string]string{"x-topic": "7"}, Query: url.Values{"page": {"2"}, "urgent": {"true"}}, Body: []byte(deep)},
			`{"order":{"n":12345678901234567890.10},"page":2,"topic":"7","urgent":true}`, nil},
		"texts that are no numbers": {mapped, Payload{Query: url.Values{"page": {"2 "}, "urgent": {"yes"}}, Body: []byte(`{}`)}, `{"page":"2 ","urgent":"yes"}`, nil},
		"repeated":                  {mapped, Payload{Query: url.Values{"page": {"1", "2"}}}, `{"page":["1","2"]}`, nil},
		"not there":                 {mapped, Payload{Body: []byte(`{"data":[]}`)}, `{}`, nil},
		"an index that is none":     {mapped, Payload{Body: []byte(`{"data":{"00":1}}`)}, `{}`, nil},
		"whole":                     {whole, Payload{Media: "application/vnd.x+json; charset=UTF-8", Body: []byte(`{"b":1, "a":[ ]}`)}, `{"a":[],"b":1}`, nil},
		"form":                      {whole, Payload{Media: "application/x-www-form-urlencoded", Body: []byte(`a=1&b=x+y&a=2`)}, `{"a":["1","2"],"b":"x y"}`, nil},
		"form with a payload":       {whole, Payload{Media: "application/x-www-form-urlencoded", Body: []byte(`payload=%7B%22a%22%3A1%7D`)}, `{"a":1}`, nil},
		"form with a text":          {whole, Payload{Media: "application/x-www-form-urlencoded", Body: []byte(`payload=a`)}, `{"payload":"a"}`, nil},
		"text":                      {whole, Payload{Media: "text/plain", Body: []byte("a\n")}, `"a\n"`, nil},
		"nothing":                   {whole, Payload{}, `null`, nil},
		"broken JSON":               {whole, Payload{Body: []byte(`{"a":1`)}, "", ErrInvalidJSON},
		"a key twice":               {whole, Payload{Body: []byte(`{"a":1,"a":2}`)}, "", ErrInvalidJSON},
		"broken form":               {whole, Payload{Media: "application/x-www-form-urlencoded", Body: []byte(`a=%zz`)}, "", ErrUnreadable},
		"form that is no UTF-8":     {whole, Payload{Media: "application/x-www-form-urlencoded", Body: []byte(`a=%ff`)}, "", ErrUnreadable},
		"text that is no UTF-8":     {whole, Payload{Media: "text/plain", Body: []byte("\xff")}, "", ErrUnreadable},
		"multipart":                 {whole, Payload{Media: "multipart/form-data; boundary=a", Body: []byte("x")}, "", ErrMedia},
		"utf-16":                    {whole, Payload{Media: "application/json; charset=utf-16", Body: []byte("x")}, "", ErrMedia},
		"no media type":             {whole, Payload{Media: ";", Body: []byte("x")}, "", ErrMedia},
	} {
		got, err := test.hook.Parameters(test.payload)
		if string(got) != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s: Parameters() = %s, %v, want %s, %v", name, got, err, test.want, test.err)
		}
	}
}
