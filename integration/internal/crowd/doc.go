// Package crowd puts many instances on one node of a test's own, kills what they run on, and checks what must hold of
// them in the end, whatever happened: exactly the wanted instances run, the ledger is their sum, and nothing is left over.
// It serves the tests of plain processes and those of real containers alike.
package crowd
