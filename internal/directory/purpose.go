package directory

// KeyPurpose is what the keys that sign this server's URLs are derived for, from the keyring that a whole
// installation shares: so every controller can sign, and every node can check.
const KeyPurpose = "directory-server"
