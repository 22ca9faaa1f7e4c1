package secret

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// printable makes text of n bytes that looks like base64.
func printable(n int) string {
	raw := make([]byte, n)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(raw)
	return base64.StdEncoding.EncodeToString(raw)[:n]
}

// inLines breaks a text.
func inLines(text string, width int) string {
	var out strings.Builder
	for begin := 0; begin < len(text); begin += width {
		out.WriteString(text[begin:min(begin+width, len(text))] + "\n")
	}
	return out.String()
}

// pem looks like a private key of about n bytes.
func pem(n int) string {
	return "-----BEGIN PRIVATE KEY-----\n" + inLines(printable(n), 64) + "-----END PRIVATE KEY-----\n"
}

func BenchmarkNewMasker(b *testing.B) {
	var leaves []string
	var most []string
	for n := range 256 {
		leaves = append(leaves, fmt.Sprintf("leaf-%07d", n))
		most = append(most, inLines(printable(3500 + n)[n:], 8))
	}
	for _, test := range []struct {
		name  string
		texts []string
	}{
		{"token of 40", []string{printable(40)}},
		{"PEM of 2 KB", []string{pem(2300)}},
		{"PEM of 8 KB", []string{pem(8000)}},
		{"64 KiB in lines of 8", []string{inLines(printable(58<<10), 8)}},
		{"64 KiB in lines of 64", []string{inLines(printable(63<<10), 64)}},
		{"256 leaves", leaves},
		{"1 MiB in lines of 8", most},
	} {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				NewMasker(test.texts)
			}
		})
	}
}

func BenchmarkStream(b *testing.B) {
	token, key := printable(40), pem(2300)
	prose := []byte(strings.Repeat("2026-01-02T03:04:05Z INFO order 4711 was paid by ada@example.org, 3 items\n", 1000))
	for _, test := range []struct {
		name    string
		secrets []string
		text    []byte
	}{
		{"prose, token", []string{token}, prose},
		{"prose, PEM", []string{key}, prose},
		{"base64, PEM", []string{key}, []byte(inLines(printable(80<<10), 76))},
		{"secrets", []string{token}, bytes.Repeat([]byte(token+" "), 2000)},
		{"one byte", []string{strings.Repeat("a", 40)}, bytes.Repeat([]byte("a"), 80<<10)},
	} {
		m := NewMasker(test.secrets)
		b.Run(test.name, func(b *testing.B) {
			b.SetBytes(int64(len(test.text)))
			for b.Loop() {
				s := m.Stream()
				s.Write(test.text, func([]byte) {})
				s.End(false, func([]byte) {})
			}
		})
	}
}
