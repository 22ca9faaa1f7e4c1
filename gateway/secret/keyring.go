package secret

import (
	"bufio"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"
)

// keyMark begins a key in its written form, so that scanners find lost ones.
const keyMark = "attune-key-1-"

// maxKeyFile bounds a key file, in bytes.
const maxKeyFile = 64 << 10

// NewKey makes a key in its written form.
func NewKey() string {
	raw := make([]byte, chacha20poly1305.KeySize)
	rand.Read(raw) // never fails: it crashes the program instead
	return keyMark + base64.RawURLEncoding.EncodeToString(raw)
}

// Keyring is the operator's keys: the first writes, all of them read. A nil
// Keyring has none.
type Keyring struct {
	first string // ID
	keys  map[string]cipher.AEAD
}

// ParseKeys reads keys, one a line or separated by commas; empty lines and those
// that begin with # are skipped. Errors show nothing of a key.
func ParseKeys(text string) (*Keyring, error) {
	ring := &Keyring{keys: map[string]cipher.AEAD{}}
	lines := bufio.NewScanner(strings.NewReader(text))
	for number := 1; lines.Scan(); number++ {
		if strings.HasPrefix(strings.TrimSpace(lines.Text()), "#") {
			continue
		}
		for word := range strings.SplitSeq(lines.Text(), ",") {
			if word = strings.TrimSpace(word); word == "" {
				continue
			}
			if err := ring.add(word); err != nil {
				return nil, fmt.Errorf("line %d: %w", number, err)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, errors.New("a line is too long for a key")
	}
	if ring.first == "" {
		return nil, errors.New("there is no key: attune secret keygen makes one")
	}
	return ring, nil
}

func (k *Keyring) add(text string) error {
	encoded, marked := strings.CutPrefix(text, keyMark)
	raw, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if !marked || err != nil || len(raw) != chacha20poly1305.KeySize {
		return errors.New("not a key as attune secret keygen makes it")
	}
	aead, err := chacha20poly1305.NewX(raw)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(raw)
	id := hex.EncodeToString(sum[:4])
	if k.first == "" {
		k.first = id
	}
	k.keys[id] = aead
	return nil
}

// ReadKeys reads a key file, which nobody but its owner and group may read, and
// nobody but its owner change.
func ReadKeys(path string) (*Keyring, error) {
	text, err := ReadPrivate(path)
	if err != nil {
		return nil, err
	}
	ring, err := ParseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return ring, nil
}

// ReadPrivate reads a small file of secrets. It must be regular, and nobody but
// its owner may change it, nobody but these and its group read it.
func ReadPrivate(path string) (_ string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a regular file", path)
	case info.Mode().Perm()&0o037 != 0:
		return "", fmt.Errorf("%s has mode %04o, with which others can read or change it: chmod 600 %s", path, info.Mode().Perm(), path)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxKeyFile {
		return "", fmt.Errorf("%s is too large for a file of keys", path)
	}
	return string(text), nil
}

// seal encrypts a value with the first key.
func (k *Keyring) seal(pack, name, value string, version int64) (Sealed, error) {
	if k == nil {
		return Sealed{}, ErrNoKey
	}
	aead := k.keys[k.first]
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(value)+aead.Overhead())
	rand.Read(nonce) // never fails
	s := Sealed{Pack: pack, Name: name, Version: version, Key: k.first}
	s.Box = aead.Seal(nonce, nonce, []byte(value), s.bound())
	return s, nil
}

// open decrypts a value. ErrNoKey, ErrUnreadable.
func (k *Keyring) open(s Sealed) (string, error) {
	if k == nil {
		return "", ErrNoKey
	}
	aead, known := k.keys[s.Key]
	if !known || len(s.Box) < chacha20poly1305.NonceSizeX {
		return "", ErrUnreadable
	}
	value, err := aead.Open(nil, s.Box[:aead.NonceSize()], s.Box[aead.NonceSize():], s.bound())
	if err != nil {
		return "", ErrUnreadable
	}
	return string(value), nil
}

// bound is the associated data: a row can't be given another pack, name or
// version. No part can hold a line break.
func (s Sealed) bound() []byte {
	return fmt.Appendf(nil, "attune secret 1\n%s\n%s\n%d", s.Pack, s.Name, s.Version)
}

// readable tells whether the ring has the key of a secret.
func (k *Keyring) readable(s Sealed) bool {
	if k == nil {
		return false
	}
	_, known := k.keys[s.Key]
	return known
}
