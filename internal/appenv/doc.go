// Package appenv makes the environment of stagings and of instances, and the lines of bash that set it.
//
// The platform's own variables come first and are passed byte for byte. The user's come last, so that they may
// replace the platform's and may refer to them: in a user's value, $NAME and ${NAME} become the value of a variable
// that is set by then, and stay as they are otherwise. "\$" is a plain dollar sign. Nothing else in a value has a
// meaning: no command is run, no pattern is expanded, quotes and line breaks stay.
package appenv
