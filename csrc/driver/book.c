#include "book.h"

#include "../codec/dynamic.h"

void
book_init(struct codec_book *book, PyTypeObject *codec_type)
{
    *book = (struct codec_book){.codec_type = codec_type, .age = 1};
}

int
book_traverse(struct codec_book *book, visitproc visit, void *arg)
{
    Py_VISIT(book->by_oid);
    Py_VISIT(book->retired);
    return 0;
}

void
book_clear(struct codec_book *book)
{
    Py_CLEAR(book->by_oid);
    Py_CLEAR(book->retired);
}

const struct codec *
book_find_borrow(struct codec_book *book, uint32_t oid, PyObject **object)
{
    *object = NULL;
    if (book->by_oid == NULL) {
        return codec_find(oid);
    }
    PyObject *key = PyLong_FromUnsignedLong(oid);
    PyObject *found = key == NULL ? NULL : PyDict_GetItemWithError(book->by_oid, key);
    Py_XDECREF(key);
    if (found == NULL) {
        PyErr_Clear();
        return codec_find(oid);
    }
    *object = found;
    return codec_object_borrow(book->codec_type, found);
}

/* Keeps `object` alive until no codec is at work. */
static int
book_retire(struct codec_book *book, PyObject *object)
{
    if (book->retired == NULL && (book->retired = PyList_New(0)) == NULL) {
        return -1;
    }
    return PyList_Append(book->retired, object);
}

int
book_put(struct codec_book *book, PyObject *codec)
{
    const struct codec *row = codec_object_borrow(book->codec_type, codec);
    if (row == NULL || (book->by_oid == NULL && (book->by_oid = PyDict_New()) == NULL)) {
        return -1;
    }
    PyObject *key = PyLong_FromUnsignedLong(row->oid);
    if (key == NULL) {
        return -1;
    }
    PyObject *old = PyDict_GetItemWithError(book->by_oid, key);
    int status = old != NULL ? book_retire(book, old) : PyErr_Occurred() ? -1 : 0;
    if (status == 0) {
        /* What was not known at all is no statement's codec. */
        book->age += old != NULL || codec_find(row->oid) != NULL;
        status = PyDict_SetItem(book->by_oid, key, codec);
    }
    Py_DECREF(key);
    return status;
}

int
book_drop_all(struct codec_book *book)
{
    if (book->by_oid == NULL) {
        return 0;
    }
    book->age += 1;
    if (book_retire(book, book->by_oid) < 0) {
        return -1;
    }
    Py_CLEAR(book->by_oid);
    return 0;
}

void
book_settle(struct codec_book *book)
{
    Py_CLEAR(book->retired);
}
