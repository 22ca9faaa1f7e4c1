package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
)

// systemCABundles are where Linux distributions keep their certificate
// authorities as one file.
var systemCABundles = []string{
	"/etc/attune/ca-bundle.pem", // where docker-compose.yaml puts the host's
	"/etc/ssl/certs/ca-certificates.crt",
	"/etc/pki/tls/certs/ca-bundle.crt",
	"/etc/ssl/ca-bundle.pem",
	"/etc/ssl/cert.pem",
}

// FindCABundle returns the PEM file of certificate authorities that builders
// get: the configured one, or with "auto" what SSL_CERT_FILE names or this
// machine has. Empty = none: the image's own are used.
func (c BuildConfig) FindCABundle(environ []string) string {
	switch c.CABundle {
	case CABundleNone:
		return ""
	case CABundleAuto:
		named, _ := lookup(environ, "SSL_CERT_FILE")
		return firstFile(append([]string{named}, systemCABundles...))
	}
	return c.CABundle
}

func firstFile(paths []string) string {
	for _, path := range paths {
		if stat, err := os.Stat(path); err == nil && stat.Mode().IsRegular() {
			return path
		}
	}
	return ""
}

// countCertificates reads a PEM file of certificate authorities. Anything in it
// that is no certificate is an error: a private key must not get into builders.
func countCertificates(path string) (int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	count := 0
	for {
		var block *pem.Block
		block, data = pem.Decode(data)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" && block.Type != "TRUSTED CERTIFICATE" {
			return 0, fmt.Errorf("holds a %s", block.Type)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil && block.Type == "CERTIFICATE" {
			return 0, fmt.Errorf("certificate %d: %w", count+1, err)
		}
		count++
	}
	switch {
	case bytes.Contains(data, []byte("-----BEGIN")):
		return 0, fmt.Errorf("is damaged after certificate %d", count)
	case count == 0:
		return 0, errors.New("holds no certificate in PEM form")
	}
	return count, nil
}
