// Package progress tells a user what is being done: a bar for transfers on a terminal, plain lines elsewhere. It
// writes to standard error only, so that standard output holds nothing but the answer.
package progress
