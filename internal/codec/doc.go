// Package codec keeps in secret what crosses Temporal. Inputs, results, failures, summaries and details are encrypted
// before they leave the process, and only who has the key file can read them.
//
// An encrypted payload looks like this (the wire form is version 1; the version is part of what derives the key):
//
//	metadata  encoding           binary/encrypted
//	          encryption-key-id  the key's name in the key file
//	data      salt (16) | nonce (12) | AES-256-GCM of the whole original payload, metadata included
//
// The outer metadata is authenticated: a payload whose metadata was changed, added to or taken from is refused.
// The key of a message is derived from the file's key and the salt. A process draws a new salt often, so that the
// random nonces under one derived key stay far from the number at which two might meet.
//
// A payload that is not encrypted passes Decode unchanged: Temporal's own tools and a history's system payloads
// come so. Encode leaves nothing in clear.
//
// To change keys: put the new key at the end of every node's file and restart; when all have it, move it to the front.
// Keep the old one until no history needs it.
package codec
