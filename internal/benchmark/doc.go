// Package benchmark keeps measurements in the one form in which all of the project's figures are kept:
// docs/benchmarks.json, a list of rows, one a name. Whoever measures writes its own rows and leaves the others.
package benchmark
