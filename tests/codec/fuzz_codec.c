/* Every codec: what its bytes decode to is encoded and decoded again. Python is
 * embedded, and uses the pgasync of FUZZ_PATH for all but the codecs, which are the
 * ones linked into this program. Four bytes of the input choose the codec (fuzz_codec.py
 * computes them), one the options; the rest is the value. */
#include "codec.h"
#include "dynamic.h"
#include "fuzz.h"

#include <assert.h>
#include <stdlib.h>

#define SUBJECTS_MAX 512
#define HEADER 5

struct subject {
    const struct codec *codec;
    uint32_t key;
};

static struct {
    struct codec_types types;
    PyTypeObject *codec_type;
    PyObject *made; /* keeps the codecs made at run time */
    struct subject subjects[SUBJECTS_MAX];
    size_t count;
} fuzz;

/* FNV-1a: a codec keeps its key when others are added. */
static uint32_t
key_of(const char *prefix, const char *name)
{
    const char *parts[] = {prefix, name};
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < 2; i++) {
        for (const char *c = parts[i]; *c != '\0'; c++) {
            hash = (hash ^ (uint8_t)*c) * 16777619u;
        }
    }
    return hash;
}

static void
add_subject(const struct codec *codec, const char *prefix)
{
    assert(codec != NULL && fuzz.count < SUBJECTS_MAX);
    uint32_t key = key_of(prefix, codec->name);
    for (size_t i = 0; i < fuzz.count; i++) {
        assert(fuzz.subjects[i].key != key);
    }
    fuzz.subjects[fuzz.count++] = (struct subject){codec, key};
}

/* The one whose key is the next above: every key has one. */
static const struct codec *
choose(uint32_t key)
{
    const struct subject *best = &fuzz.subjects[0];
    for (size_t i = 1; i < fuzz.count; i++) {
        const struct subject *other = &fuzz.subjects[i];
        if (other->key - key < best->key - key) {
            best = other;
        }
    }
    return best->codec;
}

static void
must(bool held)
{
    if (!held) {
        PyErr_Print();
        abort();
    }
}

/* For the sanitizer's sake every object of Python is a block of malloc(). */
static void
start_python(void)
{
    PyPreConfig before;
    PyPreConfig_InitPythonConfig(&before);
    before.allocator = PYMEM_ALLOCATOR_MALLOC;
    must(!PyStatus_Exception(Py_PreInitialize(&before)));
    PyConfig config;
    PyConfig_InitPythonConfig(&config);
    config.use_environment = 0;
    config.install_signal_handlers = 0;
    config.use_hash_seed = 1;
    must(!PyStatus_Exception(PyConfig_SetBytesString(&config, &config.program_name, FUZZ_PYTHON)));
    must(!PyStatus_Exception(Py_InitializeFromConfig(&config)));
    PyConfig_Clear(&config);
    must(PyRun_SimpleString("import sys; sys.path[:0] = " FUZZ_PATH) == 0);
}

static void
add_made_subjects(void)
{
    PyObject *module = PyImport_ImportModule("codec.subjects");
    must(module != NULL);
    fuzz.codec_type = codec_object_type_new(module);
    must(fuzz.codec_type != NULL);
    PyObject *found = PyObject_CallMethod(module, "made_subjects", "O", fuzz.codec_type);
    must(found != NULL);
    fuzz.made = PySequence_List(found);
    must(fuzz.made != NULL);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(fuzz.made); i++) {
        PyObject *codec = PyTuple_GET_ITEM(PyList_GET_ITEM(fuzz.made, i), 0);
        add_subject(codec_object_borrow(fuzz.codec_type, codec), "made ");
    }
    Py_DECREF(found);
    Py_DECREF(module);
}

static void
start(void)
{
    start_python();
    PyObject *errors = PyImport_ImportModule("pgasync.errors");
    must(errors != NULL);
    PyObject *data_error = PyObject_GetAttrString(errors, "DataError");
    must(data_error != NULL && codec_types_init(&fuzz.types, data_error) == 0);
    Py_DECREF(data_error);
    Py_DECREF(errors);
    for (size_t i = 0; i < codec_count(); i++) {
        add_subject(codec_at(i), "");
    }
    add_made_subjects();
}

/* Knows the built-in types only. */
static const struct codec *
bare_find(struct codec_ctx *ctx, uint32_t oid)
{
    (void)ctx;
    return codec_find(oid);
}

/* The only errors there may be. */
static void
expect_refusal(void)
{
    must(PyErr_ExceptionMatches(fuzz.types.data_error)
         || PyErr_ExceptionMatches(PyExc_MemoryError));
    PyErr_Clear();
}

/* Decodes from a block of exact size; NULL where the codec refuses. */
static PyObject *
decode(const struct codec *codec, struct codec_ctx *ctx, wire_slice bytes)
{
    uint8_t *copy = malloc(bytes.len + 1);
    assert(copy != NULL);
    if (bytes.len > 0) {
        memcpy(copy + 1, bytes.ptr, bytes.len);
    }
    PyObject *value = codec_decode(codec, ctx, (wire_slice){copy + 1, bytes.len});
    free(copy);
    assert((value == NULL) == (PyErr_Occurred() != NULL));
    assert(ctx->depth == 0);
    return value;
}

/* True where the bytes in `out` are what the codec itself would decode. */
static bool
encode(const struct codec *codec, struct codec_ctx *ctx, PyObject *value, struct wire_buffer *out)
{
    wire_buffer_init(out);
    enum codec_outcome outcome = codec->encode(codec, ctx, value, out);
    assert(ctx->depth == 0);
    if (outcome == CODEC_ERROR) {
        expect_refusal();
        return false;
    }
    assert(!PyErr_Occurred() && out->failed == WIRE_OK);
    return (int)outcome == codec->format;
}

/* Whether there is JSON in a type: a str is sent as JSON text, so that a string of JSON
 * does not go back as it came. */
static bool
is_json(const struct codec *codec)
{
    bool found = strncmp(codec->name, "json", 4) == 0;
    found = found || (codec->elem != NULL && is_json(codec->elem));
    for (size_t i = 0; !found && i < codec->members_count; i++) {
        found = is_json(codec->members[i].codec);
    }
    return found;
}

/* What was encoded can be decoded, and is then encoded the same. */
static void
check_encoded(const struct codec *codec, struct codec_ctx *ctx, wire_slice bytes)
{
    struct wire_buffer out;
    PyObject *value = decode(codec, ctx, bytes);
    if (value == NULL && is_json(codec)) {
        expect_refusal();
        return;
    }
    must(value != NULL);
    bool same = encode(codec, ctx, value, &out);
    wire_slice again = wire_buffer_unread(&out);
    same = same && again.len == bytes.len
           && (bytes.len == 0 || memcmp(again.ptr, bytes.ptr, bytes.len) == 0);
    assert(same || is_json(codec));
    wire_buffer_clear(&out, false);
    Py_DECREF(value);
}

static struct codec_options
options_from(uint8_t bits)
{
    struct codec_options options;
    codec_options_init(&options);
    options.beyond = bits % 4 < 3 ? (enum codec_beyond)(bits % 4) : CODEC_BEYOND_ERROR;
    options.naive_utc = (bits & 0x04) != 0;
    options.json_exact = (bits & 0x08) != 0;
    options.json_null = (bits & 0x10) != 0;
    if ((bits & 0x20) != 0) {
        options.json_loads = Py_NewRef(Py_None);
        options.json_dumps = Py_NewRef(Py_None);
    }
    return options;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (fuzz.count == 0) {
        start();
    }
    if (size < HEADER) {
        return 0;
    }
    const struct codec *codec = choose(wire_load_u32(data));
    struct codec_options options = options_from(data[4]);
    struct codec_ctx ctx = {
        .types = &fuzz.types, .options = &options, .find = bare_find, .param_index = 1};
    PyObject *value = decode(codec, &ctx, (wire_slice){data + HEADER, size - HEADER});
    if (value == NULL) {
        expect_refusal();
    }
    else {
        struct wire_buffer out;
        if (encode(codec, &ctx, value, &out)) {
            check_encoded(codec, &ctx, wire_buffer_unread(&out));
        }
        wire_buffer_clear(&out, false);
        Py_DECREF(value);
    }
    codec_options_clear(&options);
    return 0;
}
