#!/bin/sh
# Prints where this host keeps the certificates that it trusts, a company's own among them.
for file in "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
	if [ -s "$file" ]; then
		echo "$file"
		exit
	fi
done
echo /dev/null
