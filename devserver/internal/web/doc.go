// Package web serves what a devserver offers over HTTP beside Temporal's own API: handlers of this project, and
// Temporal's UI.
package web
