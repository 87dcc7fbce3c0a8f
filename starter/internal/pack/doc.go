// Package pack makes the zip that a push uploads from an app's directory. The same content gives the same bytes:
// entries are sorted, and carry neither times nor owners, so that what did not change is known by its digest.
//
// Executable bits and links are kept. Left out are what version control keeps for itself and what .cfignore names
// (the rules of .gitignore, in the app's top directory only).
package pack
