package rootfs

// resolvFile names the name servers.
const resolvFile = "etc/resolv.conf"

// programDirs are where a machine's programs and libraries are; the ones at the root are links into /usr on most.
func programDirs() []string {
	return []string{"usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"}
}

// configurationDirs are the ones beneath programDirs that configure the machine, as /etc does: npm and pip keep
// passwords there. What programs need of usr/etc is taken by etcPatterns.
func configurationDirs() []string {
	return []string{"usr/etc", "usr/local/etc"}
}

// etcPatterns are what programs need of /etc, all of it public: no accounts, no keys, no mail, no mounts, nothing that
// services of the machine are configured with, no proxies. What is not on a machine is passed over. passwd, group,
// hosts, nsswitch.conf and resolv.conf are made anew.
func etcPatterns() []string {
	return []string{
		// The dynamic linker's.
		"ld.so.cache", "ld.so.conf", "ld.so.conf.d", "ld-musl-*.path",
		// Names of protocols, ports, types of files, terminals.
		"protocols", "services", "networks", "rpc", "ethertypes", "host.conf", "gai.conf", "netconfig",
		"mime.types", "magic", "magic.mime", "terminfo",
		// Certificates that are trusted, and what TLS libraries read before all else.
		"ssl/certs", "ssl/cert.pem", "ssl/ca-bundle.pem", "ssl/openssl.cnf", "ca-certificates.conf", "ca-certificates/extracted",
		"pki/tls/certs", "pki/tls/cert.pem", "pki/tls/openssl.cnf", "pki/ca-trust/extracted", "pki/java", "crypto-policies",
		// Which of several programs a name means.
		"alternatives",
		// Time and language.
		"localtime", "timezone", "locale.alias", "locale.conf", "default/locale",
		// The shell's.
		"bash.bashrc", "bashrc", "profile", "inputrc", "shells", "skel",
		// What the system is.
		"os-release", "debian_version", "lsb-release", "redhat-release", "fedora-release", "alpine-release", "issue",
		// Languages whose libraries lead here by links.
		"java-*-openjdk", "python3*", "perl", "fonts",
	}
}
