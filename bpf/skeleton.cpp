// SPDX-License-Identifier: Apache-2.0
// Build tool: `skeleton FILE.bpf.o NAME` prints a C++ header with the object's bytes and, by their names, its programs,
// maps and read-only settings. What `bpftool gen skeleton` does, which in Debian 12 knows no section .bss.NAME
// (bpf/tables.h): there it fails, while libbpf 1.1 loads them.
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace {

struct Setting {
  std::string name;
  uint32_t offset, bytes;
};

// The global variables of .rodata, by offset.
std::vector<Setting> settings(const btf *types) {
  std::vector<Setting> found;
  const int id = types ? btf__find_by_name_kind(types, ".rodata", BTF_KIND_DATASEC) : -1;
  if (id < 0) return found;
  const btf_type *section = btf__type_by_id(types, static_cast<uint32_t>(id));
  const btf_var_secinfo *at = btf_var_secinfos(section);
  for (int i = 0; i < btf_vlen(section); ++i) {
    const btf_type *variable = btf__type_by_id(types, at[i].type);
    if (btf_var(variable)->linkage == BTF_VAR_STATIC) continue;
    found.push_back({btf__name_by_offset(types, variable->name_off), at[i].offset, at[i].size});
  }
  return found;
}

void print_settings(const std::vector<Setting> &all) {
  std::printf("  struct {\n");
  uint32_t end = 0;
  for (const Setting &one : all) {
    if (one.offset > end) std::printf("    char pad%u[%u];\n", end, one.offset - end);
    if (one.bytes == 4 || one.bytes == 8)
      std::printf("    uint%u_t %s;\n", one.bytes * 8, one.name.c_str());
    else
      std::printf("    char %s[%u];\n", one.name.c_str(), one.bytes);
    end = one.offset + one.bytes;
  }
  std::printf("  } *rodata = nullptr;  // until the object is loaded\n");
}

void print_names(const char *type, const char *member, const std::vector<std::string> &names) {
  std::printf("  struct {\n");
  for (const std::string &name : names) std::printf("    %s *%s = nullptr;\n", type, name.c_str());
  std::printf("  } %s;\n", member);
}

void print_bytes(const std::string &bytes) {
  std::printf("alignas(8) inline constexpr char bytes[] =");
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i % 64 == 0) std::printf("%s\n    \"", i ? "\"" : "");
    std::printf("\\%03o", static_cast<unsigned char>(bytes[i]));
  }
  std::printf("\";\n");
}

// `name` of the header's type and, with __open and so on, of its functions.
void print_skeleton(const bpf_object *object, const std::string &bytes, const char *name) {
  std::vector<std::string> programs, maps;
  bpf_program *program = nullptr;
  bpf_object__for_each_program(program, object) programs.push_back(bpf_program__name(program));
  bpf_map *map = nullptr;
  bpf_object__for_each_map(map, object)
    if (!bpf_map__is_internal(map)) maps.push_back(bpf_map__name(map));

  std::printf("// Made by bpf/skeleton.cpp.\n#pragma once\n#include <bpf/libbpf.h>\n\n#include <cstdint>\n#include <string_view>\n\n");
  std::printf("namespace %s_object {\n", name);
  print_bytes(bytes);
  std::printf("}\n\nstruct %s {\n  bpf_object *obj = nullptr;\n", name);
  print_names("bpf_map", "maps", maps);
  print_names("bpf_program", "progs", programs);
  print_names("bpf_link", "links", programs);
  print_settings(settings(bpf_object__btf(object)));
  std::printf("};\n\n");

  std::printf("inline void %s__destroy(%s *s) {\n  if (!s) return;\n", name, name);
  for (const std::string &one : programs) std::printf("  bpf_link__destroy(s->links.%s);\n", one.c_str());
  std::printf("  bpf_object__close(s->obj);\n  delete s;\n}\n\n");

  std::printf("// nullptr and errno when the object cannot be opened.\ninline %s *%s__open() {\n", name, name);
  std::printf("  LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = \"%s\");\n", name);
  std::printf("  bpf_object *object = bpf_object__open_mem(%s_object::bytes, sizeof %s_object::bytes - 1, &options);\n", name, name);
  std::printf("  if (!object) return nullptr;\n  auto *s = new %s;\n  s->obj = object;\n", name);
  for (const std::string &one : maps)
    std::printf("  s->maps.%s = bpf_object__find_map_by_name(object, \"%s\");\n", one.c_str(), one.c_str());
  for (const std::string &one : programs)
    std::printf("  s->progs.%s = bpf_object__find_program_by_name(object, \"%s\");\n", one.c_str(), one.c_str());
  std::printf("  bpf_map *map = nullptr;\n  bpf_object__for_each_map(map, object) {\n"
              "    const std::string_view name = bpf_map__name(map);\n    size_t bytes = 0;\n"
              "    if (name.ends_with(\".rodata\")) s->rodata = static_cast<decltype(s->rodata)>(const_cast<void *>(bpf_map__initial_value(map, &bytes)));\n"
              "    if (name.starts_with(\".bss.\")) bpf_map__set_map_flags(map, bpf_map__map_flags(map) | BPF_F_MMAPABLE);  // tables\n"
              "  }\n  return s;\n}\n\n");

  std::printf("inline int %s__load(%s *s) { return bpf_object__load(s->obj); }\n\n", name, name);
  std::printf("inline %s *%s__open_and_load() {\n  %s *s = %s__open();\n  if (s && %s__load(s) == 0) return s;\n"
              "  %s__destroy(s);\n  return nullptr;\n}\n",
              name, name, name, name, name, name);
}

}  // namespace

int main(int count, char **words) {
  std::ifstream file(count == 3 ? words[1] : "", std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(file), {});
  bpf_object *object = bpf_object__open_mem(bytes.data(), bytes.size(), nullptr);
  if (!object) {
    std::fprintf(stderr, "usage: skeleton FILE.bpf.o NAME\n");
    return 1;
  }
  print_skeleton(object, bytes, words[2]);
  bpf_object__close(object);
}
