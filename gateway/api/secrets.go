package api

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"attune/gateway/execution"
	"attune/gateway/key"
	"attune/gateway/pack"
	"attune/gateway/secret"
)

const (
	secretGrammar = "a secret's name is a letter or _, and up to 63 letters, digits and _ . -"
	// maxSecretBody is a value with every byte escaped, and what is around it.
	maxSecretBody = 6*secret.MaxValue + 1<<10
)

// setSecret stores a value, which no call gives back.
func (s *Server) setSecret(c *fiber.Ctx, call *call) error {
	ref, name, err := s.secretOf(c, call)
	if err != nil {
		return err
	}
	if !s.knownPack(ref) {
		return refuse(execution.CodeNotFound, noPack)
	}
	if len(c.Request().Body()) > maxSecretBody {
		return refuse(codeBodyTooLarge, "a secret may have "+strconv.Itoa(secret.MaxValue)+" bytes")
	}
	var value string
	if err := readMembers(c, map[string]any{"value": &value}); err != nil {
		return err
	}
	if problem := checkSecret(value); problem != "" {
		return invalidMembers(pack.Problem{Pointer: "/value", Detail: problem})
	}
	ctx, cancel := context.WithTimeout(s.base, storeTimeout)
	defer cancel()
	if err := s.Secrets.Set(ctx, string(ref), name, value); err != nil {
		return s.explainSecret(call, err)
	}
	c.Status(fiber.StatusNoContent)
	return nil
}

// checkSecret says what is wrong with a value; empty = nothing.
func checkSecret(value string) string {
	switch {
	case value == "":
		return "must not be empty"
	case len(value) > secret.MaxValue:
		return "must have at most " + strconv.Itoa(secret.MaxValue) + " bytes"
	}
	for i := range len(value) {
		if value[i] == 0 {
			return "must not hold a NUL character: encode binary values, for example in base64"
		}
	}
	if !utf8.ValidString(value) {
		return "must be UTF-8"
	}
	return ""
}

// listSecrets also answers for packs that are gone: their secrets are not.
func (s *Server) listSecrets(c *fiber.Ctx, call *call) error {
	ref, err := pack.ParseRef(c.Params("ref"))
	if err != nil {
		return refuse(execution.CodeInvalidRef, packGrammar)
	}
	if err := s.allow(call, key.Operate, string(ref)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.base, storeTimeout)
	defer cancel()
	entries, err := s.Secrets.List(ctx, string(ref))
	if err != nil {
		return s.explainSecret(call, err)
	}
	if len(entries) == 0 && !s.knownPack(ref) {
		return refuse(execution.CodeNotFound, noPack)
	}
	return writeJSON(c, wholePage(entries))
}

func (s *Server) deleteSecret(c *fiber.Ctx, call *call) error {
	ref, name, err := s.secretOf(c, call)
	if err != nil {
		return err
	}
	if err := readMembers(c, nil); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.base, storeTimeout)
	defer cancel()
	if err := s.Secrets.Delete(ctx, string(ref), name); err != nil {
		return s.explainSecret(call, err)
	}
	c.Status(fiber.StatusNoContent)
	return nil
}

// secretOf checks both parts of a secret's name, and whether it is the caller's
// business.
func (s *Server) secretOf(c *fiber.Ctx, call *call) (pack.Ref, string, error) {
	ref, err := pack.ParseRef(c.Params("ref"))
	if err != nil {
		return "", "", refuse(execution.CodeInvalidRef, packGrammar)
	}
	name := c.Params("name")
	if !pack.ValidSecretName(name) {
		return "", "", refuse(execution.CodeInvalidRef, secretGrammar)
	}
	return ref, name, s.allow(call, key.Operate, string(ref))
}

// knownPack tells whether a pack is there, faulty or not.
func (s *Server) knownPack(ref pack.Ref) bool {
	catalog := s.Catalog()
	_, known := catalog.Pack(ref)
	_, broken := catalog.BrokenPack(ref)
	return known || broken
}

func (s *Server) explainSecret(call *call, err error) error {
	switch {
	case errors.Is(err, secret.ErrNone):
		return refuse(execution.CodeNotFound, "the pack has no such secret")
	case errors.Is(err, secret.ErrNoKey):
		return refuse(codeNoSecretsKey, secret.ErrNoKey.Error())
	}
	s.Logger.Warn("store of secrets", slog.String("request", call.id), slog.Any("error", err))
	return refuseForNow(execution.CodeStateUnavailable, "the secrets can't be read or written now", time.Second)
}
