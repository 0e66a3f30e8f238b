import MartletCommand
import Modules

await MartletMain.run(modules: bundledModules)
