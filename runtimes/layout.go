package runtimes

import (
	"path/filepath"
)

// Paths inside every container, whatever they are outside.
const (
	PacksDir  = "/opt/attune/packs"
	EnvsDir   = "/opt/attune/runtime_envs"
	AgentDir  = "/opt/attune/bin"
	CADir     = "/opt/attune/ca"
	CacheDir  = "/opt/attune/cache"  // of builders: their pack's downloads
	SourceDir = "/opt/attune/source" // of builders: their pack, where they see copies of its parts
	SecretDir = "/opt/attune/secret" // of builders: their index's credentials
	SocketDir = "/run/attune"
	Scratch   = "/tmp"
)

// CAFile is the name of the certificate bundle in its directory.
const CAFile = "ca-bundle.pem"

// AgentFile is the name of the agent in its directory.
const AgentFile = "attune-agent"

// Layout tells which paths a program sees. In a container they are the literal
// ones above; an engine that isolates nothing shows the machine's own.
type Layout struct {
	Isolated bool
}

// PackDir is where a program sees the pack that the gateway sees at dir.
func (l Layout) PackDir(ref, dir string) string {
	return l.pick(PacksDir+"/"+ref, dir)
}

// PacksDir is the directory that holds the pack's directory, for a program.
func (l Layout) PacksDir(dir string) string {
	return l.pick(PacksDir, filepath.Dir(dir))
}

// EnvDir is where a program sees the environment that the gateway sees at dir.
func (l Layout) EnvDir(pack, runtime, dir string) string {
	return l.pick(EnvsDir+"/"+pack+"/"+runtime, dir)
}

// Agent is the program's path of the agent that the gateway sees in dir.
func (l Layout) Agent(dir string) string {
	return l.pick(AgentDir, dir) + "/" + AgentFile
}

// CA is the program's path of the certificate bundle that the gateway sees in dir.
func (l Layout) CA(dir string) string {
	return l.pick(CADir, dir) + "/" + CAFile
}

func (l Layout) pick(inside, outside string) string {
	if l.Isolated {
		return inside
	}
	return outside
}

// CAVars are the process variables by which common clients find a certificate
// bundle: OpenSSL and uv, pip, Python's requests, Node, curl.
func CAVars(file string) []string {
	names := []string{"CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"}
	vars := make([]string, len(names))
	for i, name := range names {
		vars[i] = name + "=" + file
	}
	return vars
}
