package secret

// Seal encrypts what is no stored secret but holds one. The purpose, which is
// bound to it, must not be the name of a secret. It returns the ID of the key
// with the box. ErrNoKey.
func (v *Vault) Seal(pack, purpose, value string) (key string, box []byte, err error) {
	sealed, err := v.Keys.seal(pack, purpose, value, 0)
	return sealed.Key, sealed.Box, err
}

// Open is the reverse of Seal. ErrNoKey, ErrUnreadable.
func (v *Vault) Open(pack, purpose, key string, box []byte) (string, error) {
	return v.Keys.open(Sealed{Pack: pack, Name: purpose, Key: key, Box: box})
}
