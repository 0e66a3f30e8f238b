// libyaml reads the configuration file: its events carry the line and column of every key and value.
#ifndef MARTLET_CYAML_SHIM_H
#define MARTLET_CYAML_SHIM_H

#include <yaml.h>

#endif
