// Package render writes a command's answer on standard output: a table for people, or one JSON object for programs.
package render
