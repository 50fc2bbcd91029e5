package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
)

// signingKey writes a fresh key that the API server signs the tokens of service accounts with.
func signingKey(arguments []string) error {
	if len(arguments) != 1 {
		return errors.New("usage: signingkey FILE")
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	return os.WriteFile(arguments[0], pem.EncodeToMemory(block), 0o600)
}
