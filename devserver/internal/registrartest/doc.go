// Package registrartest tests the workers' route registrar against a real NATS server, which the module that it is of does
// not depend on.
package registrartest
