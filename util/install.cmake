# SPDX-License-Identifier: Apache-2.0
# Units and configuration. Where they go, and which paths stand in a unit, is decided when they are installed, since
# `cmake --install --prefix` may name another place than was configured; DESTDIR comes before all of it.
#   prefix /usr or /usr/local: /etc/catsbpf, where the programs look; any other prefix: PREFIX/etc/catsbpf
set(CATSBPF_ETC_RULE [[
  set(ETC "${CMAKE_INSTALL_PREFIX}/etc/catsbpf")
  if(CMAKE_INSTALL_PREFIX MATCHES "^/usr(/local)?/?$")
    set(ETC /etc/catsbpf)
  endif()
]])

# NAME.service.in of this folder, with @SBIN@ and @ETC@, as PREFIX/lib/systemd/system/NAME.service.
function(install_unit template)
  string(REGEX REPLACE "\\.in$" "" unit ${template})
  install(CODE "${CATSBPF_ETC_RULE}
  set(SBIN \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_SBINDIR}\")
  configure_file(\"${CMAKE_CURRENT_SOURCE_DIR}/${template}\" \"${CMAKE_CURRENT_BINARY_DIR}/${unit}\" @ONLY)
  file(INSTALL \"${CMAKE_CURRENT_BINARY_DIR}/${unit}\" DESTINATION \"\${CMAKE_INSTALL_PREFIX}/lib/systemd/system\")")
endfunction()

# A file of this folder as configuration, under the same or another name. What stands there already is the operator's
# and stays.
function(install_configuration file)
  set(name ${file})
  if(ARGC GREATER 1)
    set(name ${ARGV1})
  endif()
  install(CODE "${CATSBPF_ETC_RULE}
  if(EXISTS \"\$ENV{DESTDIR}\${ETC}/${name}\")
    message(STATUS \"Kept: \$ENV{DESTDIR}\${ETC}/${name}\")
  else()
    file(INSTALL \"${CMAKE_CURRENT_SOURCE_DIR}/${file}\" DESTINATION \"\${ETC}\" RENAME \"${name}\")
  endif()")
  install(FILES ${file} DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
endfunction()
