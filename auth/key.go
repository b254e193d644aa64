package auth

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
)

const (
	masterSize = 32 // bytes of the key in the key file
	keyIDSize  = 8  // bytes of the public value that tells keys apart
	nonceSize  = 12 // AES-GCM
	tagSize    = 16 // AES-GCM
)

// keyID names a key without telling anything about it. Commands, snapshots and the check file carry it.
type keyID [keyIDSize]byte

func (id keyID) String() string { return hex.EncodeToString(id[:]) }

// key is the node's secret, opened: one AEAD for the HA1s and one secret for the decoys.
type key struct {
	id    keyID
	aead  cipher.AEAD
	decoy *decoys
}

// KeyID names the key of this store without telling anything about it: two stores can read each other's secrets when it is the same.
func (s *Store) KeyID() string { return s.key.id.String() }

// KeyIDOf names the key in the text of a key file; path is for the error.
func KeyIDOf(path string, text []byte) (string, error) {
	k, err := parseKey(path, text)
	if err != nil {
		return "", err
	}
	return k.id.String(), nil
}

// newKey derives everything from the 32 bytes of the key file. The labels are part of the storage format.
func newKey(master []byte) (*key, error) {
	derive := func(label string, n int) ([]byte, error) {
		return hkdf.Expand(sha256.New, master, label, n)
	}
	id, err := derive("tandem/auth key id v1", keyIDSize)
	if err != nil {
		return nil, err
	}
	sealing, err := derive("tandem/auth account seal v1", 32)
	if err != nil {
		return nil, err
	}
	secret, err := derive("tandem/auth decoy v2", 32)
	if err != nil {
		return nil, err
	}
	decoy, err := newDecoys(secret)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(sealing)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &key{id: keyID(id), aead: aead, decoy: decoy}, nil
}

// seal encrypts the hashes of one account and binds them to its three names, so that a sealed value
// copied to another account does not open. The nonce is random: only a proposer may call it, never a machine.
func (k *key) seal(h *hashes, tenant, user, extension string) (sealedHashes, error) {
	var out sealedHashes
	if _, err := rand.Read(out[:nonceSize]); err != nil {
		return out, err
	}
	k.aead.Seal(out[:nonceSize], out[:nonceSize], h[:], binding(tenant, user, extension))
	return out, nil
}

// open is the reverse of seal; it fails when a byte, a name or the key differs.
func (k *key) open(s *sealedHashes, tenant, user, extension string) (h hashes, err error) {
	_, err = k.aead.Open(h[:0], s[:nonceSize], s[nonceSize:], binding(tenant, user, extension))
	return h, err
}

func binding(tenant, user, extension string) []byte {
	b := make([]byte, 0, 3+len(tenant)+len(user)+len(extension))
	for _, name := range []string{tenant, user, extension} {
		b = append(b, byte(len(name))) // names are at most 64 bytes
		b = append(b, name...)
	}
	return b
}

// loadKey reads the key file, or makes one where there is none. The check file beside it (path + ".id") holds the key's
// public id, so that a lost or exchanged key is noticed before a single account is touched.
func loadKey(path string, log *slog.Logger) (*key, error) {
	if path == "" {
		return nil, errors.New("auth: no key file is named; accounts cannot be stored without one")
	}
	known, err := readKeyID(path + ".id")
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && known == nil:
		return createKey(path, log)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("auth: key file %s is missing, but accounts here are sealed with key %s; put the file back from a backup "+
			"(removing %s.id as well starts over and gives up every account)", path, known, path)
	case err != nil:
		return nil, fmt.Errorf("auth: key file: %w", err)
	}
	k, err := parseKey(path, text)
	if err != nil {
		return nil, err
	}
	if known != nil && *known != k.id {
		return nil, fmt.Errorf("auth: key file %s holds key %s, but accounts here are sealed with key %s; put the right file back from a backup", path, k.id, known)
	}
	warnReadable(path, log)
	if known == nil {
		err = writeFile(path+".id", k.id.String()+"\n")
	}
	return k, err
}

// KeepKey puts the key of a cluster into a key file, in the words of the file of a member, before New is called. A file that holds another key
// is left alone: what is stored beside it may be sealed with it.
func KeepKey(path string, text []byte) error {
	k, err := parseKey(path, text)
	if err != nil {
		return err
	}
	if has, err := os.ReadFile(path); err == nil {
		if bytes.Equal(bytes.TrimSpace(has), bytes.TrimSpace(text)) {
			return nil
		}
		return fmt.Errorf("auth: key file %s holds another key already, so this node belongs to something else; use a new data directory", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("auth: key file: %w", err)
	}
	if err := writeFile(path, string(bytes.TrimSpace(text))+"\n"); err != nil {
		return err
	}
	return writeFile(path+".id", k.id.String()+"\n")
}

func parseKey(path string, text []byte) (*key, error) {
	master, err := hex.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil || len(master) != masterSize {
		return nil, fmt.Errorf("auth: key file %s must hold %d hexadecimal digits", path, 2*masterSize)
	}
	return newKey(master)
}

func createKey(path string, log *slog.Logger) (*key, error) {
	master := make([]byte, masterSize)
	if _, err := rand.Read(master); err != nil {
		return nil, err
	}
	k, err := newKey(master)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("auth: key file: %w", err)
	}
	if err := writeFile(path, hex.EncodeToString(master)+"\n"); err != nil {
		return nil, err
	}
	if err := writeFile(path+".id", k.id.String()+"\n"); err != nil {
		return nil, err
	}
	log.Info("account key created, keep a copy of it in a safe place", "file", path, "key", k.id.String())
	return k, nil
}

// readKeyID returns nil without error when there is no check file.
func readKeyID(path string) (*keyID, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("auth: key check file: %w", err)
	}
	id, err := hex.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil || len(id) != keyIDSize {
		return nil, fmt.Errorf("auth: key check file %s is damaged; remove it if the key file beside it is the right one", path)
	}
	return (*keyID)(id), nil
}

// writeFile puts text at path with mode 0600, whole or not at all even when the power fails.
func writeFile(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("auth: key file: %w", err)
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("auth: key file: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("auth: key file: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

func warnReadable(path string, log *slog.Logger) {
	if st, err := os.Stat(path); err == nil && st.Mode().Perm()&0o077 != 0 {
		log.Warn("account key can be read by others; set its mode to 0600", "file", path, "mode", st.Mode().Perm().String())
	}
}
