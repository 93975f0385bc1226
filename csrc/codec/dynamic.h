/* Codecs made at run time: what a database has beyond the built-in types, and what
 * users register. A Python object owns each: _core.Codec(kind, oid, name, elem,
 * members, arg). Kinds and their `arg`:
 *   array           elem: the element's codec; arg: None, or a str of one character,
 *                   which stands between elements in text form instead of a comma
 *   domain          elem: the base type's codec
 *   range           elem: the subtype's codec; multirange: that of the range
 *   composite       members: (name, codec) of each. arg: None: values are tuples; a
 *                   subclass of tuple, as Row: filled without its __new__; any other
 *                   callable, or (callable, None): called with the members; (callable,
 *                   names): called with keywords, names a tuple of str
 *   enum            None: labels are str; or ({label: member}, {member: label})
 *   text, string    (encoder, decoder), either may be None: str ↔ value; `string`
 *                   where the binary form of the type is its text
 *   binary          (encoder, decoder): bytes ↔ value
 *   citext, hstore, ltree, lquery, ltxtquery, cube, vector, halfvec, sparsevec
 *                   the extensions' types of that name
 *   unknown         text both ways, as for a type that nothing is known of
 * An array, range, multirange or composite of a type that travels as text does so too. */
#ifndef CODEC_DYNAMIC_H
#define CODEC_DYNAMIC_H

#include "codec.h"

/* Makes the type: a new reference, NULL with an exception.
 */
PyTypeObject *codec_object_type_new(PyObject *module);

/* The codec in a Codec object: lives as long as the object. NULL with a TypeError
 * for anything else. */
const struct codec *codec_object_borrow(PyTypeObject *codec_type, PyObject *object);

/* The names of all kinds: a new list. */
PyObject *codec_kinds(void);

#endif
