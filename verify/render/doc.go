// Package render writes a verify.Report for readers outside of the command line: HTML for people, JUnit XML for CI.
//
// The page is one file that works offline: no script, no font, image or style from elsewhere. Its plots are SVG inside the page. What
// a plot shows is also a table or a sentence, and no meaning rests on colour alone.
//
// Names in a report come from files that nobody vouches for. Here they are text: what does not print (control characters, marks that
// turn the direction of writing, bytes that are not UTF-8) is spelled out as \x1b or \u202e, and the rest is escaped.
//
// It knows Report alone: neither engines nor models, and it opens no file.
package render
