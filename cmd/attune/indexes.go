package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"strings"

	"attune/envcache"
)

// variableMark begins a value of build.index_credentials that names a variable.
const variableMark = "env:"

// maxCredentials bounds user:password, in bytes.
const maxCredentials = 4096

// indexName is what packs write, and after a dot the name of a runtime.
var indexName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}(\.[a-z][a-z0-9_-]{0,62})?$`)

// indexes checks the form of what is said about indexes, without opening files.
func (k *configCheck) indexes() {
	b := k.config.Build
	for _, name := range sortedKeys(b.Indexes) {
		address := b.Indexes[name]
		parsed, err := url.Parse(address)
		switch {
		case !indexName.MatchString(name):
			k.fault("build.indexes", "%q is no name of an index: write one like internal, or internal.python for one runtime", name)
		case credentials.MatchString(address): // never shown: it may hold a password
			k.fault("build.indexes", "%s is a URL with credentials: keep them in build.index_credentials", name)
		case err != nil || parsed.Scheme != "https" && parsed.Scheme != "http" || parsed.Hostname() == "" || strings.ContainsAny(address, " \t\r\n\x00"):
			k.fault("build.indexes", "%s is no URL of an index: write https://host/path", name)
		}
	}
	for _, name := range sortedKeys(b.IndexCredentials) {
		place := b.IndexCredentials[name]
		variable, isVariable := strings.CutPrefix(place, variableMark)
		switch {
		case b.Indexes[name] == "":
			k.fault("build.index_credentials", "there is no index %s in build.indexes: add it, or remove its credentials", name)
		case place == "", isVariable && !variableName.MatchString(variable):
			k.fault("build.index_credentials", "%s names neither a file nor a variable: write a path or env:NAME", name)
		}
	}
}

// readIndexes returns the indexes with their credentials.
func (b BuildConfig) readIndexes(environ []string) (map[string]envcache.Index, error) {
	indexes := map[string]envcache.Index{}
	for name, address := range b.Indexes {
		index := envcache.Index{URL: address}
		if place := b.IndexCredentials[name]; place != "" {
			text, err := readCredentials(place, environ)
			if err == nil {
				index.User, index.Password, err = splitCredentials(text)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
		indexes[name] = index
	}
	return indexes, nil
}

func readCredentials(place string, environ []string) (text string, err error) {
	if variable, ok := strings.CutPrefix(place, variableMark); ok {
		text, found := lookup(environ, variable)
		if !found {
			return "", fmt.Errorf("the variable %s is not set", variable)
		}
		return text, nil
	}
	file, err := os.Open(place)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	content, err := io.ReadAll(io.LimitReader(file, maxCredentials+1))
	return string(content), err
}

// splitCredentials reads user:password. They go into files of installers that
// know no quoting, so that some characters can't be said. The text is never part
// of the error.
func splitCredentials(text string) (user, password string, err error) {
	user, password, ok := strings.Cut(strings.TrimRight(text, "\r\n"), ":")
	if !ok || user == "" || password == "" || len(text) > maxCredentials {
		return "", "", errors.New("the credentials are not user:password on one line")
	}
	unfit := func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"'\\#", r) }
	if strings.ContainsFunc(user+password, unfit) {
		return "", "", errors.New("the credentials hold a space, a quote, a backslash, # or a character beyond ASCII, which installers' files can't carry")
	}
	return user, password, nil
}
