/* The program that dist/rawgate is: CPython, linked in, which finds everything else in the zip archive behind its own
 * code. `tools/build-binary` compiles it; `tools/binary/loader.py` is the first Python that runs.
 *
 * The archive is opened as /proc/self/exe: that stays this very file even after another one was moved to its place, so
 * that an upgrade cannot pull the modules from under a running gateway.
 *
 * No environment variable of Python's is read (PYTHONPATH and the like belong to other programs of the host), and text
 * is UTF-8 whatever the locale says.
 */
#include <Python.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "frozen.h" /* made by build.py: the modules that are imported before the archive can be read */

static const char archive[] = "/proc/self/exe";

static PyObject *load(PyObject *module, PyObject *path)
{
    const char *name = PyUnicode_AsUTF8(path);
    if (name == NULL)
        return NULL;
    if (dlopen(name, RTLD_NOW) == NULL) {
        PyErr_SetString(PyExc_ImportError, dlerror());
        return NULL;
    }
    Py_RETURN_NONE;
}

/* The code of all compiled modules of rawgate, linked in: a module that has a capsule with a function for each of them. */
PyMODINIT_FUNC PyInit_rawgate__mypyc(void);

/* The module that such a function makes. */
static PyObject *start(PyObject *module, PyObject *capsule)
{
    PyObject *(*function)(void) = PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule));
    return function == NULL ? NULL : function();
}

static PyMethodDef methods[] = {
    {"load", load, METH_O, "Load a shared library by its path, and keep it."},
    {"start", start, METH_O, "Make the compiled module of a capsule."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "rawgate_libraries", NULL, 0, methods,
                                        NULL, NULL, NULL, NULL};

static PyObject *libraries(void)
{
    return PyModuleDef_Init(&definition);
}

static PyStatus configure(PyConfig *config, int argc, char **argv)
{
    /* As in the python program, and unlike in programs that embed it: SIGPIPE is ignored. */
    config->install_signal_handlers = 1;
    config->parse_argv = 0;
    config->site_import = 0;
    config->write_bytecode = 0;
    config->pathconfig_warnings = 0;
    config->module_search_paths_set = 1;

    wchar_t *path = Py_DecodeLocale(archive, NULL);
    if (path == NULL)
        return PyStatus_NoMemory();
    PyStatus status = PyWideStringList_Append(&config->module_search_paths, path);
    wchar_t **places[] = {&config->prefix, &config->base_prefix, &config->exec_prefix, &config->base_exec_prefix,
                          &config->executable, &config->base_executable, &config->program_name};
    for (size_t i = 0; i < Py_ARRAY_LENGTH(places) && !PyStatus_Exception(status); i++)
        status = PyConfig_SetString(config, places[i], path);
    PyMem_RawFree(path);
    if (!PyStatus_Exception(status))
        status = PyConfig_SetString(config, &config->run_command, L"import rawgate_loader");
    if (!PyStatus_Exception(status))
        status = PyConfig_SetBytesArgv(config, argc, argv);
    return status;
}

/* A standard stream that the process was started without is /dev/null: else what is opened next gets its number, and the
 * interpreter and the event loop take one another's. */
static void open_standard_streams(void)
{
    for (int number = 0; number <= 2; number++)
        if (fcntl(number, F_GETFD) == -1)
            (void)open("/dev/null", O_RDWR);
}

int main(int argc, char **argv)
{
    open_standard_streams();
    if (access(archive, R_OK) != 0) {
        fprintf(stderr, "rawgate: cannot read %s, where this file finds itself: %s; mount /proc, and make the file readable\n",
                archive, strerror(errno));
        return 1;
    }
    PyPreConfig before;
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1;
    PyStatus status = Py_PreInitialize(&before);
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
    PyImport_FrozenModules = frozen;
    if (PyImport_AppendInittab("rawgate_libraries", libraries) < 0 ||
        PyImport_AppendInittab("rawgate__mypyc", PyInit_rawgate__mypyc) < 0)
        return 1;

    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    status = configure(&config, argc, argv);
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
    return Py_RunMain();
}
