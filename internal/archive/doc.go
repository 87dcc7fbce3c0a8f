// Package archive packs directories and unpacks what others have packed, without trusting it.
//
// Unpacking is done beneath an os.Root, so that no name and no link can make it write elsewhere. What would try is
// refused before anything is written where the format allows to know it (zip), and at the first such entry where it
// does not (tar.gz). A refusal is an *Error with a sentence for the user; every other error is the machine's.
//
// Refused are: names that are absolute, hold "..", a drive letter, a NUL or bytes that are no UTF-8, also when read
// with Windows' backslashes; links that lead out of the directory, alone or through other links; entries beneath
// a link or a file; the same name twice; devices, pipes and sockets; encrypted, damaged or foreign archives; and
// more bytes or entries than the limits allow, counted as they are unpacked and not as the archive claims; and what
// lies in more than 256 directories.
//
// Memory and time are bounded, too: a zip's directory is walked before archive/zip reads it (see boundedZip), entries of a
// zip must not share their bytes, names are kept only to so many bytes together, and the links of an archive are
// followed only so far.
//
// Links are made after everything else, so nothing of the archive is ever written through one.
package archive
